//! V8 in the files of a process.

use std::{collections::HashSet, fs::File, os::fd::AsRawFd as _};

use memchr::memmem;
use tracer_common::{Pid, stack::JsLayout};

use super::{Layout, Texts};
use crate::{
    runtime::image::Image,
    target::{
        mapping::{self, Mapping},
        sys,
    },
};

/// V8 in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it keeps things.
    pub layout: Layout,
    /// The file it is in, as `/proc/PID/maps` has it.
    file: (u64, u64),
    /// How far from where it was linked the process has it.
    bias: u64,
}

/// Looks for V8 in the files with code that `pid` has mapped.
#[must_use]
pub fn find(pid: Pid) -> Option<Found> {
    let root = mapping::root(pid);
    let mut seen = HashSet::new();
    mapping::of(pid)
        .iter()
        .filter(|mapping| is_text(mapping))
        .filter(|mapping| seen.insert((mapping.device, mapping.inode)))
        .find_map(|mapping| {
            let path = mapping::seen_from(&root, &mapping.path);
            let (file, _) = mapping::open(pid, mapping, path, true)?;
            let (layout, bias) = layout(&file, mapping)?;
            Some(Found {
                layout,
                file: (mapping.device, mapping.inode),
                bias,
            })
        })
}

fn layout(file: &File, mapping: &Mapping) -> Option<(Layout, u64)> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let content = sys::map_file(path.as_ref()).ok()?;
    let image = Image::parse(&content)?;
    // Nearly no file has it, and to read all symbols takes time.
    let is_likely = [".dynstr", ".strtab"]
        .iter()
        .any(|names| memmem::find(image.section(names), b"v8dbg_").is_some());
    let layout = is_likely.then(|| Layout::of(&image))??;
    Some((layout, image.bias(mapping.start, mapping.offset)?))
}

impl Found {
    /// What the kernel side needs of it.
    #[must_use]
    pub fn for_kernel(&self) -> JsLayout {
        self.layout.for_kernel(self.bias)
    }

    /// Which files with code the process has mapped now.
    #[must_use]
    pub fn texts(&self, pid: Pid) -> Texts {
        let mut texts = Texts::default();
        for mapping in mapping::of(pid) {
            let range = mapping.start..mapping.end;
            if (mapping.device, mapping.inode) == self.file && mapping.executable {
                texts.own.push((range, mapping.offset));
            } else if is_text(&mapping) || (mapping.executable && &*mapping.path == "[vdso]") {
                texts.others.push(range);
            } else if mapping.path.is_empty() && mapping.readable {
                texts.anonymous.push(mapping.start);
                if mapping.executable {
                    texts.made.push(range);
                }
            }
        }
        texts
    }
}

fn is_text(mapping: &Mapping) -> bool {
    mapping.executable && mapping.path.starts_with('/')
}
