//! On a program put together by hand: one task type, one table of waker functions, in each of the ways that a linker
//! writes addresses down.

use super::*;

const TEXT: u64 = 0x1000;
const DATA: u64 = 0x3000;
const VTABLE: u64 = DATA;
const WAKER: u64 = DATA + 0x60;

const POLL: u64 = TEXT;
const OTHER: u64 = TEXT + 0x80;
const CLONE: u64 = TEXT + 0x100;
const BY_VALUE: u64 = TEXT + 0x200;
const BY_REFERENCE: u64 = TEXT + 0x300;

/// How the file says that a word is an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    /// A list of places and targets.
    Rela,
    /// A bitmap of places; the targets are in the words.
    Relr,
    /// They are what they are.
    Fixed,
}

fn place(text: &mut [u8], at: u64, code: &[u8]) {
    let at = (at - TEXT) as usize;
    text[at..at + code.len()].copy_from_slice(code);
}

/// `lea rax, [rip + …]` at `at`, to `target`.
fn lea(at: u64, target: u64) -> Vec<u8> {
    let offset = target.wrapping_sub(at + 7) as u32;
    [&[0x48, 0x8d, 0x05][..], &offset.to_le_bytes()].concat()
}

fn text() -> Vec<u8> {
    let mut text = vec![0xc3; 0x1000];
    place(&mut text, POLL, &lea(POLL, WAKER));
    let swap = [
        &[0x64, 0x48, 0x8b, 0x0c, 0x25, 0x10, 0xff, 0xff, 0xff][..], // mov rcx, fs:[-0xf0]
        &[0x48, 0x8b, 0x47, 0x28],                                   // mov rax, [rdi+0x28]
        &[0x64, 0x48, 0x89, 0x04, 0x25, 0x10, 0xff, 0xff, 0xff],     // mov fs:[-0xf0], rax
    ];
    place(&mut text, POLL + 7, &swap.concat());
    let clone = [
        &[0xb8, 0x40, 0, 0, 0][..],      // mov eax, 64
        &[0xf0, 0x48, 0x0f, 0xc1, 0x07], // lock xadd [rdi], rax
        &lea(CLONE + 10, WAKER),
        &[0x48, 0x89, 0xfa, 0xc3], // mov rdx, rdi; ret
    ];
    place(&mut text, CLONE, &clone.concat());
    let by_value = [
        &[0x48, 0x83, 0xec, 0x18][..],   // sub rsp, 24
        &[0x48, 0x89, 0xfb],             // mov rbx, rdi
        &[0x31, 0xff],                   // xor edi, edi
        &[0x2e, 0x66, 0x0f, 0x1f, 0x00], // a long nop
        &[0x53],                         // push rbx
        &[0xf0, 0x48, 0x0f, 0xb1, 0x13], // lock cmpxchg [rbx], rdx
    ];
    place(&mut text, BY_VALUE, &by_value.concat());
    let by_reference = [
        &[0x48, 0x8b, 0x07][..], // mov rax, [rdi]
        &[0xa8, 0x02],           // test al, 2
        &[0x75, 0x10],           // jne
    ];
    place(&mut text, BY_REFERENCE, &by_reference.concat());
    text
}

fn program(addresses: Addresses) -> Vec<u8> {
    let mut words: Vec<u64> = vec![POLL];
    words.extend([OTHER; 6]);
    words.extend([96, 32, 40, 0, 0]);
    words.extend([CLONE, BY_VALUE, BY_REFERENCE, OTHER]);
    let is_address = |word: u64| (TEXT..TEXT + 0x1000).contains(&word);
    let places: Vec<u64> = (0..words.len() as u64)
        .filter(|&index| is_address(words[index as usize]))
        .collect();

    let table = DATA + 0x400;
    let mut relocations: Vec<u64> = Vec::new();
    match addresses {
        Addresses::Rela => {
            for &index in &places {
                relocations.extend([DATA + 8 * index, 8, words[index as usize]]);
                words[index as usize] = 0;
            }
        }
        Addresses::Relr => {
            let bits = places[1..].iter().map(|index| 1u64 << index);
            relocations.extend([DATA, bits.sum::<u64>() | 1]);
        }
        Addresses::Fixed => {}
    }
    let size = 8 * relocations.len() as u64;
    let dynamic: Vec<u64> = match addresses {
        Addresses::Rela => vec![7, table, 8, size, 0, 0],
        Addresses::Relr => vec![36, table, 35, size, 0, 0],
        Addresses::Fixed => vec![0, 0],
    };

    let mut file = vec![0; 0x3000];
    let mut put = |at: usize, words: &[u64]| {
        for (index, word) in words.iter().enumerate() {
            let at = at + 8 * index;
            file[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
    };
    put(0x2000, &words);
    put(0x2200, &dynamic);
    put(0x2400, &relocations);
    let kind: u64 = if addresses == Addresses::Fixed { 2 } else { 3 };
    put(0, &[0x0001_0102_464c_457f, 0, 1 << 32 | 62 << 16 | kind]);
    put(0x18, &[POLL, 64, 0, 0x0038_0040_0000_0000, 6]);
    // Type and flags, place in the file, address twice, size in the file and in memory, alignment.
    let headers: [[u64; 8]; 6] = [
        [1 | 5 << 32, 0x1000, TEXT, TEXT, 0x1000, 0x1000, 0x1000, 0],
        [1 | 6 << 32, 0x2000, DATA, DATA, 0x1000, 0x1000, 0x1000, 0],
        [0x6474_e552, 0x2000, DATA, DATA, 0x1000, 0x1000, 1, 0],
        [2, 0x2200, DATA + 0x200, DATA + 0x200, 48, 48, 8, 0],
        [7, 0x2800, DATA + 0x800, DATA + 0x800, 0, 0x11c, 32, 0],
        [3, 0x2900, DATA + 0x900, DATA + 0x900, 0, 0, 1, 0],
    ];
    for (index, header) in headers.iter().enumerate() {
        put(64 + 56 * index, &header[..7]);
    }
    file[0x1000..0x2000].copy_from_slice(&text());
    file
}

#[test]
fn a_type_is_found_however_addresses_are_written_down() {
    for addresses in [Addresses::Rela, Addresses::Relr, Addresses::Fixed] {
        let file = program(addresses);
        let image = Image::parse(&file).unwrap();
        assert_eq!(image.is_movable(), addresses != Addresses::Fixed);
        let tokio = recognise(&image).unwrap_or_else(|| panic!("{addresses:?}"));
        let [found] = tokio.types.as_slice() else {
            panic!("{addresses:?}: {:?}", tokio.types);
        };
        assert_eq!(
            (found.vtable, found.poll, found.id, found.trailer),
            (VTABLE, POLL, Some(40), Some(96))
        );
        assert_eq!(
            (found.kind, found.name.as_str()),
            (Kind::Async, "type #1"),
            "{addresses:?}"
        );
        // `lea` is not emulated.
        let entry = ProbePoint {
            file_offset: 0x1000,
            is_emulated: false,
        };
        assert_eq!(found.poll_probe, entry);
        assert_eq!(tokio.current_task, [-0xf0], "{addresses:?}");
    }
}

#[test]
fn wakes_are_probed_where_the_kernel_emulates() {
    let file = program(Addresses::Rela);
    let tokio = recognise(&Image::parse(&file).unwrap()).unwrap();
    let point = |file_offset, header_register| WakeProbe {
        point: ProbePoint {
            file_offset,
            is_emulated: true,
        },
        header_register,
    };
    // At `push` the header is in rbx, at the conditional jump still in rdi.
    assert_eq!(tokio.wakes, [point(0x120e, 3), point(0x1305, 5)]);
}

#[test]
fn numbers_that_do_not_fit_each_other_make_no_type() {
    let mut file = program(Addresses::Rela);
    for (at, number) in [
        (0x2038, 32u64),
        (0x2040, 24),
        (0x2048, 41),
        (0x2038, 1 << 40),
    ] {
        let kept = file.clone();
        file[at..at + 8].copy_from_slice(&number.to_le_bytes());
        assert_eq!(recognise(&Image::parse(&file).unwrap()), None, "{at:x}");
        file = kept;
    }
}

#[test]
fn what_is_no_program_is_no_image() {
    for bytes in [
        &b""[..],
        b"\x7fELF",
        &[0; 4096],
        &program(Addresses::Rela)[..63],
    ] {
        assert!(Image::parse(bytes).is_none());
    }
    let mut other_machine = program(Addresses::Rela);
    other_machine[18] = 183;
    assert!(Image::parse(&other_machine).is_none());
}
