//! The list of findings.

use std::cmp::Reverse;

use tracer_common::Pid;

use super::{List, Row, Sort};
use crate::model::{Finding, Snapshot};

/// What findings are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FindingSort {
    /// The worst first.
    #[default]
    Severity,
    /// The newest first.
    Newest,
    /// By its name.
    Name,
}

impl Sort for FindingSort {
    const ALL: &'static [Self] = &[Self::Severity, Self::Newest, Self::Name];

    fn name(self) -> &'static str {
        match self {
            Self::Severity => "worst",
            Self::Newest => "newest",
            Self::Name => "name",
        }
    }
}

impl Row for Finding {
    type Id = (&'static str, &'static str, Pid, String);

    fn id(&self) -> Self::Id {
        let subject = &self.subject;
        let (id, kind) = (self.id.name(), subject.kind.name());
        (id, kind, subject.pid, subject.key.clone())
    }
}

/// The list of findings.
pub type FindingList = List<FindingSort, <Finding as Row>::Id>;

impl FindingList {
    /// The findings to show, in order. A filter is for name and subject.
    #[must_use]
    pub fn rows<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a Finding> {
        let is_shown = |finding: &&Finding| {
            self.matches(finding.id.name()) || self.matches(&finding.subject.name)
        };
        let mut rows: Vec<_> = snapshot.findings.list.iter().filter(is_shown).collect();
        // A stable sort: the worst come first as they are.
        match self.sort {
            FindingSort::Severity => {}
            FindingSort::Newest => rows.sort_by_key(|finding| Reverse(finding.first)),
            FindingSort::Name => rows.sort_by_key(|finding| finding.id.name()),
        }
        if self.reversed {
            rows.reverse();
        }
        rows
    }
}
