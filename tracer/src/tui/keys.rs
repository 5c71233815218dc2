//! Bytes from the terminal into keys.
//!
//! Not crossterm's reader: on a terminal that is gone it reads end-of-file forever, inside `poll`, so that the
//! program neither ends nor rests (<https://github.com/crossterm-rs/crossterm/issues/793>), and it reads on a
//! thread of its own. What arrives here is data, however broken: unknown sequences are skipped.

use super::input::Key;

const ESC: u8 = 0x1b;
/// No key needs more; what is longer is not a key.
const LONGEST: usize = 32;

/// Collects bytes until they are keys.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    pending: Vec<u8>,
}

/// What the front of the pending bytes is.
enum Front {
    /// A key, or something that is none, of so many bytes.
    Done(Option<Key>, usize),
    /// More bytes are needed to tell.
    Incomplete,
}

impl Decoder {
    /// The keys that are complete with `bytes`.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend_from_slice(bytes);
        let mut keys = Vec::new();
        let mut rest = self.pending.as_slice();
        while let Front::Done(key, used) = front(rest) {
            keys.extend(key);
            rest = rest.get(used..).unwrap_or_default();
        }
        let used = self.pending.len() - rest.len();
        self.pending.drain(..used);
        keys
    }

    /// True when something began that more bytes could complete. Only time tells the Escape key from a sequence.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// No more bytes came: what was begun ends here. Escape, when that was all.
    pub(crate) fn give_up(&mut self) -> Option<Key> {
        let lone = self.pending == [ESC];
        self.pending.clear();
        lone.then_some(Key::Esc)
    }
}

fn front(bytes: &[u8]) -> Front {
    match *bytes {
        [] => Front::Incomplete,
        [ESC] => Front::Incomplete,
        [ESC, b'[', ref rest @ ..] => control_sequence(rest),
        [ESC, b'O'] => Front::Incomplete,
        [ESC, b'O', letter, ..] => Front::Done(cursor_key(letter), 3),
        // Escape, and then another key right after it.
        [ESC, ..] => Front::Done(Some(Key::Esc), 1),
        [b'\r' | b'\n', ..] => Front::Done(Some(Key::Enter), 1),
        [0x7f | 0x08, ..] => Front::Done(Some(Key::Backspace), 1),
        [control @ 0x01..=0x1a, ..] => {
            Front::Done(Some(Key::Ctrl(char::from(control - 1 + b'a'))), 1)
        }
        [0x00..=0x1f, ..] => Front::Done(None, 1),
        _ => character(bytes),
    }
}

/// `ESC [`, parameters, a final byte (ECMA-48, 5.4). Modifiers are not looked at.
fn control_sequence(rest: &[u8]) -> Front {
    let Some(end) = rest.iter().position(|byte| !(0x20..=0x3f).contains(byte)) else {
        return if rest.len() < LONGEST {
            Front::Incomplete
        } else {
            Front::Done(None, 2 + rest.len())
        };
    };
    let number = rest
        .split(|byte| !byte.is_ascii_digit())
        .next()
        .unwrap_or_default();
    let key = match (rest.get(end).copied().unwrap_or_default(), number) {
        (b'~', b"1" | b"7") => Some(Key::Home),
        (b'~', b"4" | b"8") => Some(Key::End),
        (b'~', b"5") => Some(Key::PageUp),
        (b'~', b"6") => Some(Key::PageDown),
        (letter, _) => cursor_key(letter),
    };
    Front::Done(key, 2 + end + 1)
}

fn cursor_key(letter: u8) -> Option<Key> {
    Some(match letter {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        _ => return None,
    })
}

fn character(bytes: &[u8]) -> Front {
    let most = bytes.get(..4).unwrap_or(bytes);
    let valid = match str::from_utf8(most) {
        Ok(text) => text,
        Err(error) => match (error.valid_up_to(), error.error_len()) {
            (0, None) => return Front::Incomplete,
            (0, Some(length)) => return Front::Done(None, length),
            (length, _) => {
                str::from_utf8(most.get(..length).unwrap_or_default()).unwrap_or_default()
            }
        },
    };
    match valid.chars().next() {
        Some(c) => Front::Done((!c.is_control()).then_some(Key::Char(c)), c.len_utf8()),
        None => Front::Incomplete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        Decoder::default().feed(bytes)
    }

    #[test]
    fn keys_as_terminals_send_them() {
        assert_eq!(
            keys(b"q?\r\x7f\x03"),
            [
                Key::Char('q'),
                Key::Char('?'),
                Key::Enter,
                Key::Backspace,
                Key::Ctrl('c')
            ]
        );
        assert_eq!(
            keys(b"\x1b[A\x1bOB\x1b[1;5C\x1b[D"),
            [Key::Up, Key::Down, Key::Right, Key::Left]
        );
        assert_eq!(
            keys(b"\x1b[H\x1b[1~\x1b[F\x1b[4~\x1b[5~\x1b[6~"),
            [
                Key::Home,
                Key::Home,
                Key::End,
                Key::End,
                Key::PageUp,
                Key::PageDown
            ]
        );
        assert_eq!(keys("ü日".as_bytes()), [Key::Char('ü'), Key::Char('日')]);
    }

    #[test]
    fn a_key_may_arrive_in_pieces() {
        let mut decoder = Decoder::default();
        for (bytes, expected) in [
            (&b"\x1b"[..], &[][..]),
            (b"[1", &[]),
            (b"~a\xe6", &[Key::Home, Key::Char('a')]),
            (b"\x97\xa5", &[Key::Char('日')]),
        ] {
            assert_eq!(decoder.feed(bytes), expected);
        }
        assert!(!decoder.is_waiting());
    }

    #[test]
    fn escape_is_a_key_when_nothing_follows() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(b"\x1b"), []);
        assert!(decoder.is_waiting());
        assert_eq!(decoder.give_up(), Some(Key::Esc));
        assert_eq!(decoder.give_up(), None);
        assert_eq!(decoder.feed(b"\x1bq"), [Key::Esc, Key::Char('q')]);
        assert_eq!(decoder.feed(b"\x1b["), []);
        assert_eq!(decoder.give_up(), None, "half a sequence is no key");
    }

    #[test]
    fn what_is_no_key_is_skipped() {
        assert_eq!(
            keys(b"\x1b[200~\x1b[?1;2c\x1b[3~\x1bOP\x00\x1fx"),
            [Key::Char('x')]
        );
        assert_eq!(
            keys(b"\xff\xc3(\xf0\x9f\x92x"),
            [Key::Char('('), Key::Char('x')]
        );
        let mut decoder = Decoder::default();
        decoder.feed(&[b"\x1b[".as_slice(), &[b'1'; 10_000]].concat());
        assert!(!decoder.is_waiting(), "no sequence is kept for ever");
    }

    #[test]
    fn any_bytes_leave_less_than_a_sequence_behind() {
        let mut seed = 1_u32;
        let mut decoder = Decoder::default();
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let byte = if seed & 0x300 == 0 {
                ESC
            } else {
                (seed >> 24) as u8
            };
            decoder.feed(&[byte]);
            assert!(decoder.pending.len() <= 2 + LONGEST);
        }
    }
}
