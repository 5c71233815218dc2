//! Probes at functions of the targets: where they are to be, which of them are, and the way off.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
};

use aya::{
    Ebpf,
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};
use tracer_common::Pid;

use super::{
    attach::{explain, load, program},
    probes::{Attach, Functions, PROBES},
    uprobe::{self, MapFds, Multi, Points},
};

/// Functions of the targets' runtimes, and what is attached to them.
pub(super) struct AtFunctions {
    /// The maps, for programs that `aya` does not load.
    maps: MapFds,
    /// Programs for links of many instructions; `None` until they are needed, or where the kernel has no such links.
    multi: Option<Multi>,
    places: Vec<Place>,
    detached: Vec<Detached>,
    /// Has one more owner for each link that was taken off and is not closed.
    closing: Arc<()>,
}

struct Place {
    which: Functions,
    points: Points,
    /// By program.
    links: BTreeMap<&'static str, Link>,
}

enum Link {
    /// To all of its instructions.
    Multi(OwnedFd),
    /// One for each of them.
    Single(Vec<UProbeLink>),
}

/// Into so many parts single links are divided to be closed side by side.
const PARTS: usize = 16;

/// A link that is no longer wanted. Dropping it takes the probes off within a millisecond or so, but then waits tens of
/// milliseconds in the kernel until no CPU runs their program. One after the other, the last of four links would trap its
/// target for a tenth of a second more: whoever has threads drops each on one of its own. Until all are dropped, nothing
/// can be attached again: for a moment each event would be counted twice.
pub struct Detached {
    _links: Vec<Box<dyn Send>>,
    _closing: Arc<()>,
}

impl AtFunctions {
    pub(super) fn new(maps: MapFds) -> Self {
        Self {
            maps,
            multi: None,
            places: Vec::new(),
            detached: Vec::new(),
            closing: Arc::new(()),
        }
    }

    /// Adds functions of a runtime that was found.
    pub(super) fn add(&mut self, which: Functions, points: Points) {
        if !points.places.is_empty() {
            self.places.push(Place {
                which,
                points,
                links: BTreeMap::new(),
            });
        }
    }

    /// Forgets the functions of a process, and takes their probes off.
    pub(super) fn remove(&mut self, pid: Pid) {
        for mut place in std::mem::take(&mut self.places) {
            if place.points.pid == pid {
                for link in std::mem::take(&mut place.links).into_values() {
                    self.give_up(link);
                }
            } else {
                self.places.push(place);
            }
        }
    }

    /// True when there are such functions.
    pub(super) fn has(&self, which: Functions) -> bool {
        self.places.iter().any(|place| place.which == which)
    }

    pub(super) fn is_attached(&self, program: &str) -> bool {
        let mut places = self.places.iter();
        places.any(|place| place.links.contains_key(program))
    }

    /// The programs that are attached.
    pub(super) fn attached(&self) -> BTreeSet<&'static str> {
        let places = self.places.iter();
        places
            .flat_map(|place| place.links.keys().copied())
            .collect()
    }

    /// True when every link that was taken off is gone.
    pub(super) fn is_settled(&self) -> bool {
        Arc::strong_count(&self.closing) == 1
    }

    /// Links that were taken off and are to be dropped.
    pub(super) fn detached(&mut self) -> Vec<Detached> {
        std::mem::take(&mut self.detached)
    }

    /// Attaches a program to all such functions where it is not yet.
    pub(super) fn attach(
        &mut self,
        object: &mut Ebpf,
        name: &'static str,
        which: Functions,
        is_return: bool,
    ) -> Result<(), String> {
        if !self.has(which) {
            return Err("the runtime's functions were not found".to_owned());
        }
        if uprobe::has_multi() && self.multi.is_none() {
            let at_functions = PROBES
                .iter()
                .filter(|probe| matches!(probe.attach, Attach::Functions { .. }));
            let programs: Vec<_> = at_functions.map(|probe| probe.name).collect();
            self.multi = Some(Multi::load(super::session::OBJECT, &self.maps, &programs)?);
        }
        let mut refused = None;
        for place in &mut self.places {
            if place.which != which || place.links.contains_key(name) {
                continue;
            }
            let link = match &self.multi {
                Some(multi) => multi
                    .attach(name, &place.points, is_return)
                    .map(Link::Multi),
                None => one_by_one(object, name, &place.points).map(Link::Single),
            };
            match link {
                Ok(link) => {
                    place.links.insert(name, link);
                }
                Err(why) => refused = Some(why),
            }
        }
        // A process that has just ended is no reason to go without the others.
        match refused {
            Some(why) if !self.is_attached(name) => Err(why),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes a program off.
    pub(super) fn detach(&mut self, name: &str) {
        let links: Vec<Link> = self
            .places
            .iter_mut()
            .filter_map(|place| place.links.remove(name))
            .collect();
        for link in links {
            self.give_up(link);
        }
    }

    fn give_up(&mut self, link: Link) {
        let mut parts: Vec<Vec<Box<dyn Send>>> = Vec::new();
        parts.resize_with(PARTS, Vec::new);
        match link {
            Link::Multi(link) => parts[0].push(Box::new(link)),
            Link::Single(links) => {
                for (link, part) in links.into_iter().zip((0..PARTS).cycle()) {
                    parts[part].push(Box::new(link));
                }
            }
        }
        parts.retain(|links| !links.is_empty());
        let detached = parts.into_iter().map(|links| Detached {
            _links: links,
            _closing: self.closing.clone(),
        });
        self.detached.extend(detached);
    }

    /// A program for links of many instructions.
    pub(super) fn fd(&self, program: &str) -> Option<BorrowedFd<'_>> {
        self.multi.as_ref()?.fd(program)
    }
}

fn one_by_one(
    object: &mut Ebpf,
    name: &'static str,
    points: &Points,
) -> Result<Vec<UProbeLink>, String> {
    let program: &mut UProbe = program(object, name)?;
    load(program.fd().is_ok(), || program.load())?;
    let scope =
        NonZeroU32::new(points.pid.0).map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess);
    let mut links = Vec::new();
    for &(offset, cookie) in &points.places {
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(offset),
            cookie: Some(cookie.0),
        };
        let link = program
            .attach(point, points.path(), scope)
            .and_then(|link| program.take_link(link));
        links.push(link.map_err(|error| explain(&error))?);
    }
    Ok(links)
}
