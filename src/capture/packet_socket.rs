//! What libpcap does not offer for Linux packet sockets (packet(7)): the kernel's own statistics, filters that are
//! attached without discarding what is already in the ring, fan-out, and the index of the bound interface.
//!
//! The only file with `unsafe` code: four system calls on a descriptor that the caller has borrowed, each with a buffer
//! whose length is passed along.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One instruction of a classic BPF program, as `struct sock_filter` of linux/filter.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions skipped when a comparison holds.
    pub jump_true: u8,
    /// Instructions skipped when it does not.
    pub jump_false: u8,
    /// Operand.
    pub k: u32,
}

/// Most instructions the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// What the kernel counted on a socket since it was last asked (`struct tpacket_stats_v3`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that passed the filter, those dropped among them.
    pub packets: u32,
    /// Packets dropped because the ring was full.
    pub drops: u32,
    /// Times the ring became full.
    pub freezes: u32,
}

/// `PACKET_FANOUT` value for a new group with a unique number, in which a program chooses the member.
const FANOUT_NEW: u32 = (libc::PACKET_FANOUT_CBPF | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16;
/// The same for an existing group, whose number is in the lower half.
const FANOUT_JOIN: u32 = libc::PACKET_FANOUT_CBPF << 16;

/// Reads and clears the kernel's counts.
pub fn statistics(socket: BorrowedFd<'_>) -> io::Result<Statistics> {
    let mut numbers = [0u32; 3];
    get(socket, libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut numbers)?;
    Ok(Statistics { packets: numbers[0], drops: numbers[1], freezes: numbers[2] })
}

/// Takes the error that is pending on a socket; 0 when there is none.
pub fn pending_error(socket: BorrowedFd<'_>) -> io::Result<i32> {
    let mut number = [0u32];
    get(socket, libc::SOL_SOCKET, libc::SO_ERROR, &mut number)?;
    Ok(number[0] as i32)
}

/// Creates a fan-out group with this socket, in which `program` chooses the member for a packet (modulo the number of
/// members), and returns the group's number.
pub fn begin_fanout(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<u16> {
    set(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &[FANOUT_NEW])?;
    set_program(socket, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, program)?;
    let mut number = [0u32];
    get(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &mut number)?;
    Ok(number[0] as u16)
}

/// Puts this socket into a fan-out group.
pub fn join_fanout(socket: BorrowedFd<'_>, group: u16) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &[FANOUT_JOIN | u32::from(group)])
}

/// Index of the interface to which a packet socket is bound: 0 for all, -1 once the interface is gone.
pub fn interface_index(socket: BorrowedFd<'_>) -> io::Result<i32> {
    let mut address = libc::sockaddr_ll {
        sll_family: 0,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is a valid buffer of `len` bytes, and the kernel writes at most that many.
    let result = unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut len) };
    if result == 0 { Ok(address.sll_ifindex) } else { Err(io::Error::last_os_error()) }
}

/// Attaches a filter, which decides about every packet from now on and leaves earlier ones in the ring.
pub fn attach(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    set_program(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program)
}

fn set_program(socket: BorrowedFd<'_>, level: c_int, name: c_int, program: &[Instruction]) -> io::Result<()> {
    if program.len() > MAX_INSTRUCTIONS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the program has too many instructions"));
    }
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|one| libc::sock_filter { code: one.code, jt: one.jump_true, jf: one.jump_false, k: one.k })
        .collect();
    let program = libc::sock_fprog { len: instructions.len() as u16, filter: instructions.as_mut_ptr() };
    // SAFETY: the program points to `len` instructions that live until the call returns; the kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const program).cast::<c_void>(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get(socket: BorrowedFd<'_>, level: c_int, name: c_int, numbers: &mut [u32]) -> io::Result<()> {
    let mut len = size_of_val(numbers) as libc::socklen_t;
    // SAFETY: the slice is a valid buffer of `len` bytes, and the kernel writes at most that many.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, numbers.as_mut_ptr().cast::<c_void>(), &raw mut len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set(socket: BorrowedFd<'_>, level: c_int, name: c_int, numbers: &[u32]) -> io::Result<()> {
    let len = size_of_val(numbers) as libc::socklen_t;
    // SAFETY: the slice is a valid buffer of `len` bytes, and the kernel only reads it.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, numbers.as_ptr().cast::<c_void>(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
