//! Makes the kernel refuse system calls of this process from some moment on.

/// Makes the kernel answer `errno` to each `call` of this process, or only to calls whose second argument is `argument`.
pub fn refuse(call: libc::c_long, argument: Option<u32>, errno: libc::c_int) {
    answer(call, argument.map(|argument| (SECOND, EQUAL, argument)), errno);
}

/// As [`refuse`], for calls whose fourth argument is greater than `most`.
pub fn refuse_beyond(call: libc::c_long, most: u32, errno: libc::c_int) {
    answer(call, Some((FOURTH, GREATER, most)), errno);
}

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const ANSWER: u16 = 0x06;
/// Where a filter finds the number of the call, and the low halves of its arguments.
const NUMBER: u32 = 0;
const SECOND: u32 = 24;
const FOURTH: u32 = 40;

fn answer(call: libc::c_long, only: Option<(u32, u16, u32)>, errno: libc::c_int) {
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let refusal = line(ANSWER, 0, 0, 0x0005_0000 | errno as u32);
    let allowance = line(ANSWER, 0, 0, 0x7fff_0000);
    let mut filter = vec![line(LOAD, 0, 0, NUMBER)];
    match only {
        None => filter.push(line(EQUAL, 0, 1, call as u32)),
        Some((place, how, value)) => {
            filter.extend([line(EQUAL, 0, 3, call as u32), line(LOAD, 0, 0, place), line(how, 0, 1, value)])
        }
    }
    filter.extend([refusal, allowance]);
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: plain numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: a filter that lives until the call returns.
    let set =
        unsafe { libc::syscall(libc::SYS_seccomp, 1, libc::SECCOMP_FILTER_FLAG_TSYNC, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}
