//! What a worker's connections cost, in bytes by kind: a ledger that is kept as they change, so
//! that nobody walks over them to read it.
//!
//! User space is what the tables, the connections that are not at rest, and input that is not
//! complete have allocated; `tests/density.rs` holds it against the allocator. The kernel tells no
//! process what its sockets cost, so its part is arithmetic over what was measured once: slab
//! objects on Linux 6.18 with IPv4, page waste included. Answers that wait are counted to the byte.

/// A socket that is idle: `tcp_sock` 2,519, its inode 862, file and dentry 390, security blobs 56,
/// a direct descriptor 40.
const KERNEL_SOCKET_BYTES: usize = 3_867;

/// What waits for the next frame of a cold connection.
const KERNEL_POLL_BYTES: usize = 256;

/// What waits for the next frame of any other: an armed receive.
const KERNEL_RECEIVE_BYTES: usize = 865;

/// Bytes of all connections of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    /// In this process: tables, sessions, timers, input that is not complete.
    pub user_bytes: usize,
    /// In the kernel, without what is under way in socket buffers; arithmetic, not measured.
    pub kernel_bytes: usize,
    /// Answers that wait to be written.
    pub backlog_bytes: usize,
}

/// The kernel's part for so many connections, of which `awake` are not at rest.
pub(crate) fn kernel_bytes(open: usize, awake: usize) -> usize {
    open * KERNEL_SOCKET_BYTES + (open - awake) * KERNEL_POLL_BYTES + awake * KERNEL_RECEIVE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_keeps_a_socket_for_each_and_what_waits_for_its_next_frame() {
        assert_eq!(kernel_bytes(0, 0), 0);
        assert_eq!(kernel_bytes(1, 0), 4_123);
        assert_eq!(kernel_bytes(1, 1), 4_732);
        assert_eq!(kernel_bytes(10, 3), 7 * 4_123 + 3 * 4_732);
    }
}
