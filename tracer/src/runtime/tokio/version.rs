//! Which tokio it is, from the paths that its panics name: `…/tokio-1.44.2/src/runtime/…`.

use std::collections::BTreeMap;

use memchr::memmem;

use crate::runtime::image::Image;

/// Mentions looked at.
const MENTIONS: usize = 4_096;

/// The version that most paths tell; paths may have been remapped, and then none does.
pub(super) fn find(image: &Image) -> Option<String> {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for text in constants(image) {
        for at in memmem::find_iter(text, b"/tokio-1.").take(MENTIONS) {
            let rest = &text[at + "/tokio-".len()..];
            if let Some(version) = number(rest) {
                *votes.entry(version).or_default() += 1;
            }
        }
    }
    let best = votes.into_iter().max_by_key(|&(_, votes)| votes)?;
    Some(best.0.to_owned())
}

/// `1.44.2` of `1.44.2/src/…`
fn number(text: &[u8]) -> Option<&str> {
    let end = memchr::memchr(b'/', &text[..text.len().min(32)])?;
    let version = std::str::from_utf8(&text[..end]).ok()?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (core, _) = version.split_once(['-', '+']).unwrap_or((version, ""));
    let parts: Vec<&str> = core.split('.').collect();
    let fits = parts.len() == 3 && parts.iter().all(|part| is_number(part));
    (fits && text[end..].starts_with(b"/src/")).then_some(version)
}

/// True when tokio is named at all.
pub(super) fn is_mentioned(image: &Image) -> bool {
    constants(image).any(|text| memmem::find(text, b"tokio").is_some())
}

/// What is constant and no code.
fn constants<'data>(image: &Image<'data>) -> impl Iterator<Item = &'data [u8]> {
    let segments = image.segments().iter();
    segments
        .filter(|segment| !segment.is_executable && !segment.is_writable)
        .filter_map(|segment| image.from(segment.address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_three_numbers() {
        assert_eq!(number(b"1.44.2/src/task/mod.rs"), Some("1.44.2"));
        assert_eq!(number(b"1.0.0-alpha.1/src/lib.rs"), Some("1.0.0-alpha.1"));
        for text in [
            &b"1.44/src/a.rs"[..],
            b"1.44.2/tests/a.rs",
            b"1.",
            b"",
            b"1..2/src/",
        ] {
            assert_eq!(number(text), None);
        }
    }
}
