//! What the kernel knows of a server's end of a TCP connection over IPv4.

use std::fs;
use std::net::SocketAddr;

/// Returns true if the kernel still has the server's end of the connection.
pub fn has_connection(server: SocketAddr, client: SocketAddr) -> bool {
    line(server, client).is_some()
}

/// Returns true if the server has read everything that has arrived from the client.
pub fn has_read_all(server: SocketAddr, client: SocketAddr) -> bool {
    let Some(line) = line(server, client) else {
        return false;
    };
    // proc(5): the fifth field is the length of both queues.
    let queues = line.split_whitespace().nth(4).unwrap();
    queues.ends_with(":00000000")
}

fn line(server: SocketAddr, client: SocketAddr) -> Option<String> {
    let ends = format!("{} {} ", in_hexadecimal(server)?, in_hexadecimal(client)?);
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| line.contains(&ends));
    line.map(ToOwned::to_owned)
}

/// An address as `/proc/net/tcp` writes it.
fn in_hexadecimal(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let ip = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{ip:08X}:{:04X}", address.port()))
}
