//! Functions of a few instructions, assembled by hand.

use super::*;

/// Code at 0x1000, words at 0x8000.
struct Parts(Vec<u8>, Vec<u64>);

impl Memory for Parts {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let words: Vec<u8> = self.1.iter().flat_map(|word| word.to_le_bytes()).collect();
        let (start, bytes) = match address {
            0x8000.. => (0x8000, &words),
            _ => (0x1000, &self.0),
        };
        let at = address
            .checked_sub(start)
            .and_then(|at| usize::try_from(at).ok());
        let from = at.and_then(|at| bytes.get(at..at.checked_add(buffer.len())?));
        from.map(|from| buffer.copy_from_slice(from)).is_some()
    }
}

fn returns(code: &[u8], words: &[u64]) -> Option<u64> {
    let mut bytes = code.to_vec();
    bytes.resize(0x200, 0xcc);
    let parts = Parts(bytes, words.to_vec());
    let call = Call {
        function: 0x1000,
        arguments: [0x8000, 0],
    };
    returned(&parts, &mut Instructions::default(), call)
}

#[test]
fn a_function_that_reads_is_followed() {
    // lea rax, [rax+rax*2] of the first word, plus the second: `Heap::MaxReserved` of V8 10.
    let code = [
        0x48, 0x8b, 0x07, // mov rax, [rdi]
        0x48, 0x8b, 0x57, 0x08, // mov rdx, [rdi+8]
        0x48, 0x8d, 0x04, 0x40, // lea rax, [rax+rax*2]
        0x48, 0x01, 0xd0, // add rax, rdx
        0xc3,
    ];
    assert_eq!(returns(&code, &[16, 2]), Some(50));
    assert_eq!(returns(&code, &[16]), None, "there is no second word");
}

#[test]
fn calls_comparisons_and_small_registers_are_as_the_processor_has_them() {
    let code = [
        0x55, // push rbp
        0xe8, 0x07, 0x00, 0x00, 0x00, // call +7
        0x5d, // pop rbp
        0x48, 0x39, 0x07, // cmp [rdi], rax
        0x77, 0x08, // ja +8
        0xc3, // ret
        0xb8, 0xff, 0xff, 0xff, 0xff, // mov eax, -1
        0xc3, // ret
        0xcc, // not reached
        0x83, 0xc8, 0xff, // or eax, -1
        0x0f, 0xb6, 0xc0, // movzx eax, al
        0xc1, 0xe0, 0x04, // shl eax, 4
        0xc3, // ret
    ];
    assert_eq!(returns(&code, &[1]), Some(0xffff_ffff));
    let after = |flag: u8, second: u64| {
        // cmp [rdi], [rdi+8] by way of rax; setcc al; movzx eax, al
        let code = [
            0x48, 0x8b, 0x07, 0x48, 0x3b, 0x47, 0x08, 0x0f, flag, 0xc0, 0x0f, 0xb6, 0xc0, 0xc3,
        ];
        returns(&code, &[second, 7])
    };
    let minus_one = u64::MAX;
    for (name, flag, wants) in [
        ("b", 0x92, [1, 0, 0, 0]),
        ("be", 0x96, [1, 1, 0, 0]),
        ("l", 0x9c, [1, 0, 0, 1]),
        ("ge", 0x9d, [0, 1, 1, 0]),
        ("g", 0x9f, [0, 0, 1, 0]),
        ("e", 0x94, [0, 1, 0, 0]),
    ] {
        let got = [6, 7, 8, minus_one].map(|first| after(flag, first));
        assert_eq!(got, wants.map(Some), "{name}");
    }
}

#[test]
fn what_writes_never_ends_or_is_not_known_has_no_result() {
    assert_eq!(returns(&[0x48, 0x89, 0x07, 0xc3], &[1]), None, "writes");
    assert_eq!(returns(&[0xeb, 0xfe], &[]), None, "jumps to itself");
    assert_eq!(returns(&[0x0f, 0x05, 0xc3], &[]), None, "a system call");
    // mov rax, fs:[0]: of the thread.
    let own = [0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0xc3];
    assert_eq!(returns(&own, &[]), None);
    // mov [rsi], rax: the second argument is 0.
    assert_eq!(returns(&[0x48, 0x89, 0x06, 0xc3], &[]), None);
}

#[test]
fn what_is_written_to_a_result_tells_which_call_it_is_of() {
    let mut code = vec![
        0x48, 0xc7, 0x06, 0x05, 0, 0, 0, // mov qword [rsi], 5
        0xff, 0x17, // call [rdi]
        0x48, 0x89, 0x46, 0x10, // mov [rsi+16], rax
        0xc3,
    ];
    code.resize(0x200, 0xcc);
    let parts = Parts(code, vec![0x1234]);
    let got = written(&parts, &mut Instructions::default(), 0x1000, 0x8000, 0);
    let call = Call {
        function: 0x1234,
        arguments: [0x8000, RESULT],
    };
    let want = [(0, Value::Number(5)), (16, Value::Of(call))];
    assert_eq!(got.into_iter().collect::<Vec<_>>(), want);
}
