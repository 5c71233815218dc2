//! Which versions of Node, V8 and libuv a file holds.

use std::collections::BTreeMap;

use memchr::memmem;

use crate::runtime::{code::Code, image::Image, memory::Memory};

/// Mentions looked at.
const MENTIONS: usize = 64;
/// Bytes of a version.
const LONGEST: usize = 64;

/// What Node says to a debugger: `node.js/v20.20.2`.
/// <https://github.com/nodejs/node/blob/v24.0.0/src/inspector_socket_server.cc#L299>
const SAID: &[u8] = b"node.js/v";

pub(super) fn of_node(image: &Image) -> Option<String> {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    let constant = image.segments().iter().filter(|one| !one.is_writable);
    for text in constant.filter_map(|one| image.from(one.address)) {
        for at in memmem::find_iter(text, SAID).take(MENTIONS) {
            if let Some(version) = semantic(&text[at + SAID.len()..]) {
                *votes.entry(version).or_default() += 1;
            }
        }
    }
    let best = votes.into_iter().max_by_key(|&(_, votes)| votes)?;
    Some(best.0.to_owned())
}

/// The version at the beginning of a text that may go on with anything: `24.0.0`, `24.0.0-nightly2025010112ab34cd56`.
fn semantic(text: &[u8]) -> Option<&str> {
    let text = &text[..text.len().min(LONGEST)];
    let mut end = 0;
    for part in 0..3 {
        if part > 0 {
            end += usize::from(text.get(end) == Some(&b'.'));
        }
        let digits = text[end..].iter().take_while(|byte| byte.is_ascii_digit());
        let digits = digits.count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        end += digits;
    }
    let rest = &text[end..];
    // https://github.com/nodejs/node/blob/v24.0.0/tools/getnodeversion.py, and tags as its Makefile makes them.
    if [&b"-nightly"[..], b"-rc.", b"-test", b"-v8-canary", b"-pre"]
        .iter()
        .any(|tag| rest.starts_with(tag))
    {
        let is_tag = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        end += rest.iter().take_while(is_tag).count();
    }
    std::str::from_utf8(&text[..end]).ok()
}

/// The first string of `node::per_process::metadata`: `versions.node`.
/// <https://github.com/nodejs/node/blob/v24.0.0/src/node_metadata.h#L125>
pub(super) fn in_memory(memory: &dyn Memory, metadata: u64) -> Option<String> {
    let start = memory.word(metadata)?;
    let length = usize::try_from(memory.word(metadata.checked_add(8)?)?).ok()?;
    if !(1..LONGEST).contains(&length) {
        return None;
    }
    let mut text = vec![0; length];
    let is_read = memory.read(start, &mut text);
    let version = semantic(&text).filter(|_| is_read)?;
    (version.len() == length).then(|| version.to_owned())
}

/// `v8::internal::Version`, as V8 writes it: `11.3.244.8-node.38`, without a patch level when that is 0.
/// <https://github.com/v8/v8/blob/13.6.233/src/utils/version.cc>
pub(super) fn of_v8(image: &Image) -> Option<String> {
    let [major, minor, build, patch, embedder] = image.exported([
        super::V8_MAJOR,
        "_ZN2v88internal7Version6minor_E",
        "_ZN2v88internal7Version6build_E",
        "_ZN2v88internal7Version6patch_E",
        "_ZN2v88internal7Version9embedder_E",
    ]);
    let number = |address: Option<u64>| number(image, address?);
    let mut version = format!("{}.{}.{}", number(major)?, number(minor)?, number(build)?);
    let patch = number(patch).filter(|&patch| patch > 0);
    version.extend(patch.map(|patch| format!(".{patch}")));
    version.extend(embedder.and_then(|place| text(image, image.pointer(place)?)));
    Some(version)
}

/// What `uv_version_string` returns.
pub(super) fn of_uv(code: &Code, function: u64) -> Option<String> {
    let instructions = code.decode(code.bounds(function)).take(8);
    let mut targets = instructions.filter_map(|instruction| code.target(&instruction));
    let text = targets.find_map(|target| text(code.image, target))?;
    let is_whole = semantic(text.as_bytes()) == Some(text.split('-').next().unwrap_or_default());
    is_whole.then_some(text)
}

/// An `int`, which is not in the file when it is 0.
pub(super) fn number(image: &Image, address: u64) -> Option<i32> {
    match image.bytes(address, 4) {
        Some(bytes) => bytes.try_into().ok().map(i32::from_le_bytes),
        None => image.is_data(address).then_some(0),
    }
}

/// Printable text that ends with 0. Older linkers put constants and code into one segment.
fn text(image: &Image, address: u64) -> Option<String> {
    let is_fixed = image.is_constant(address) || image.is_code(address);
    let bytes = image.from(address).filter(|_| is_fixed)?;
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let end = memchr::memchr(0, bytes)?;
    let is_printable = bytes[..end].iter().all(u8::is_ascii_graphic);
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    is_printable.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_ends_where_something_else_begins() {
        for (text, version) in [
            (&b"20.20.2\0"[..], Some("20.20.2")),
            (b"24.21.0Protocol-Version", Some("24.21.0")),
            (b"26.10.0H", Some("26.10.0")),
            (b"24.0.0-more", Some("24.0.0")),
            (
                b"25.0.0-nightly202501015ba3f2c7e1 x",
                Some("25.0.0-nightly202501015ba3f2c7e1"),
            ),
            (b"22.0.0-rc.1\0", Some("22.0.0-rc.1")),
            (b"20.20\0", None),
            (b"20..2\0", None),
            (b"1234567.1.1", None),
            (b"x", None),
            (b"", None),
        ] {
            assert_eq!(semantic(text), version, "{}", text.escape_ascii());
        }
    }

    /// Two words and a text.
    struct Metadata(Vec<u8>);

    const AT: u64 = 0x1000;

    impl Memory for Metadata {
        fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
            let from = address
                .checked_sub(AT)
                .and_then(|at| self.0.get(usize::try_from(at).ok()?..));
            let bytes = from.and_then(|from| from.get(..buffer.len()));
            bytes.map(|bytes| buffer.copy_from_slice(bytes)).is_some()
        }
    }

    #[test]
    fn the_version_in_memory_is_believed_when_it_is_one() {
        let memory = |length: u64, text: &[u8]| {
            let words = [AT + 16, length].map(u64::to_le_bytes);
            Metadata([words.concat(), text.to_vec()].concat())
        };
        let read = |length, text| in_memory(&memory(length, text), AT);
        assert_eq!(read(7, b"20.20.2").as_deref(), Some("20.20.2"));
        // Not started yet, cut off, another content, nonsense.
        assert_eq!(read(0, b""), None);
        assert_eq!(read(8, b"20.20.2"), None);
        assert_eq!(read(6, b"process"), None);
        assert_eq!(read(u64::MAX, b"20.20.2"), None);
        assert_eq!(in_memory(&memory(7, b"20.20.2"), 8), None);
    }
}
