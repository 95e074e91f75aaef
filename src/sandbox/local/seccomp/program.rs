//! Programs for seccomp in the classic BPF that the kernel takes (`Documentation/userspace-api/seccomp_filter.rst`).
//!
//! A binary search finds what is to be answered to a call. The kernel compiles a filter and tries it on every call number
//! whenever one is installed: each jail pays for every step.

use seccompiler::sock_filter;

/// Instructions none of which leads out of them: each way through ends in an answer.
pub(super) type Block = Vec<sock_filter>;

/// What of `seccomp_data` the instructions read, by offset in bytes.
const CALL: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
const ARGUMENT_BYTES: u32 = 8;

const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const JUMP_IF_NOT_LESS: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const JUMP_IF_ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Lets the call through.
pub(super) fn allow() -> Block {
    vec![step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0)]
}

/// Answers the call with this error.
pub(super) fn deny(errno: i32) -> Block {
    vec![step(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0)]
}

/// `inside` when argument `index` is one of `values`. Arguments are read as 32-bit words: the kernel ignores the upper
/// half of all those looked at here.
pub(super) fn one_of(index: u32, values: &[i32], inside: &Block, outside: Block) -> Block {
    let equal = |rest, &value| branch(JUMP_IF_EQUAL, value as u32, inside.clone(), rest);
    on_argument(index, values.iter().rev().fold(outside, equal))
}

/// `some` when argument `index` has any bit of `mask`.
pub(super) fn any_bit(index: u32, mask: i32, some: Block, none: Block) -> Block {
    on_argument(index, branch(JUMP_IF_ANY_BIT, mask as u32, some, none))
}

/// A program that ends a process that makes a call of another architecture than `architecture` (an `AUDIT_ARCH_`).
/// Otherwise `first` is the answer, and from each call number in `then` on the one that stands there; these ascend.
pub(super) fn search(architecture: u32, first: &Block, then: &[(u32, Block)]) -> Block {
    let mut program = vec![step(LOAD_WORD, ARCHITECTURE, 0, 0)];
    let number = [vec![step(LOAD_WORD, CALL, 0, 0)], tree(first, then)].concat();
    let foreign = vec![step(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0)];
    program.extend(branch(JUMP_IF_EQUAL, architecture, number, foreign));
    program
}

fn tree(first: &Block, then: &[(u32, Block)]) -> Block {
    let middle = then.len() / 2;
    match then.get(middle) {
        None => first.clone(),
        Some((call, block)) => {
            branch(JUMP_IF_NOT_LESS, *call, tree(block, &then[middle + 1..]), tree(first, &then[..middle]))
        }
    }
}

fn on_argument(index: u32, block: Block) -> Block {
    [vec![step(LOAD_WORD, ARGUMENTS + ARGUMENT_BYTES * index, 0, 0)], block].concat()
}

/// A conditional jump leads over 255 instructions at most, a plain one over any number.
fn branch(condition: u32, operand: u32, yes: Block, no: Block) -> Block {
    let jump = match u8::try_from(no.len()) {
        Ok(over) => vec![step(condition, operand, over, 0)],
        Err(_) => vec![step(condition, operand, 0, 1), step(JUMP, no.len() as u32, 0, 0)],
    };
    [jump, no, yes].concat()
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: u32 = 0xc000_003e;

    /// What `program` answers, as the kernel would run it.
    fn run(program: &[sock_filter], architecture: u32, call: u32, arguments: [u32; 3]) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let jump = |yes| usize::from(if yes { jt } else { jf });
            match u32::from(code) {
                LOAD_WORD => {
                    word = match k {
                        CALL => call,
                        ARCHITECTURE => architecture,
                        _ => arguments[((k - ARGUMENTS) / ARGUMENT_BYTES) as usize],
                    }
                }
                JUMP => at += k as usize,
                JUMP_IF_EQUAL => at += jump(word == k),
                JUMP_IF_NOT_LESS => at += jump(word >= k),
                JUMP_IF_ANY_BIT => at += jump(word & k != 0),
                RETURN => return k,
                _ => panic!("no such instruction: {code}"),
            }
        }
    }

    proptest! {
        #[test]
        fn each_call_gets_what_stands_there(
            answers in proptest::collection::btree_map(1_u32..2000, 0_i32..4095, 0..400),
            calls in proptest::collection::vec(0_u32..2100, 50),
        ) {
            let then: Vec<_> = answers.iter().map(|(&call, &errno)| (call, deny(errno))).collect();
            let program = search(HERE, &allow(), &then);
            for call in calls.into_iter().chain(answers.keys().copied()) {
                let expected = answers.range(..=call).next_back().map_or(allow(), |(_, &errno)| deny(errno));
                prop_assert_eq!(run(&program, HERE, call, [0; 3]), expected[0].k);
                prop_assert_eq!(run(&program, HERE + 1, call, [0; 3]), libc::SECCOMP_RET_KILL_PROCESS);
            }
        }

        #[test]
        fn arguments_choose(values in proptest::collection::vec(-3..3, 0..6), value in -3..3, mask in 0..16) {
            let answers = [allow()[0].k, deny(1)[0].k];
            let named = one_of(1, &values, &allow(), deny(1));
            let expected = answers[usize::from(!values.contains(&value))];
            prop_assert_eq!(run(&named, HERE, 0, [9, value as u32, 9]), expected);
            let bits = any_bit(2, mask, allow(), deny(1));
            let expected = answers[usize::from(value & mask == 0)];
            prop_assert_eq!(run(&bits, HERE, 0, [9, 9, value as u32]), expected);
        }
    }
}
