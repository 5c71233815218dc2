//! The functions of libuv's thread pool in a file that has no names for them: what is offered to everybody hands one of
//! them over as work, `uv__work_submit(loop, work, kind, FUNCTION, done)`.
//! <https://github.com/libuv/libuv/blob/v1.52.1/src/threadpool.c>

use iced_x86::{FlowControl, OpKind, Register};

use super::Function;
use crate::runtime::code::Code;

/// Who hands what over.
const USERS: [(&str, Function); 5] = [
    ("uv_fs_stat", Function::FsWork),
    ("uv_getaddrinfo", Function::AddressWork),
    ("uv_getnameinfo", Function::NameWork),
    ("uv_random", Function::RandomWork),
    ("uv_queue_work", Function::QueuedWork),
];

/// Which function is where, for those that are handed to the same function by all who hand something over.
pub(super) fn find(code: &Code) -> Vec<(Function, u64)> {
    let users = code.image.exported(USERS.map(|(name, _)| name));
    let handed = USERS
        .iter()
        .zip(users)
        .filter_map(|(&(_, function), user)| {
            let (submit, work) = handed(code, user?)?;
            Some((function, submit, work))
        });
    let handed: Vec<(Function, u64, u64)> = handed.collect();
    let Some(&(_, submit, _)) = handed.first() else {
        return Vec::new();
    };
    if handed.len() < 2 || handed.iter().any(|&(_, other, _)| other != submit) {
        return Vec::new();
    }
    let work = handed
        .into_iter()
        .map(|(function, _, work)| (function, work));
    work.chain([(Function::WorkSubmit, submit)]).collect()
}

/// The function that is called with two other functions as its last arguments, and the first of these.
fn handed(code: &Code, user: u64) -> Option<(u64, u64)> {
    let bounds = code.bounds(user);
    let begins = |address: u64| {
        let function = code.image.function(address);
        function.is_some_and(|function| function.start == address)
    };
    let (mut work, mut done) = (None, None);
    for instruction in code.decode(bounds.clone()) {
        let target = code.target(&instruction);
        let ends = matches!(
            instruction.flow_control(),
            FlowControl::Call | FlowControl::UnconditionalBranch
        );
        if ends && instruction.op0_kind() == OpKind::NearBranch64 {
            let target = target.filter(|target| !bounds.contains(target) && begins(*target));
            if let (Some(target), Some(work), Some(_)) = (target, work, done) {
                return Some((target, work));
            }
            (work, done) = (None, None);
        } else if instruction.op0_kind() == OpKind::Register {
            let register = instruction.op0_register().full_register();
            let target = target.filter(|&target| code.image.is_code(target) && begins(target));
            if register == Register::RCX {
                work = target;
            } else if register == Register::R8 {
                done = target;
            }
        }
    }
    None
}
