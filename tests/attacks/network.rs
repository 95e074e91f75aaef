//! The host's network, its services, and families of sockets that reach around it.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::host::nothing_works;

#[tokio::test]
async fn host_network_is_out_of_reach() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("autocodegen-test-{port}");
    let address = <SocketAddr as SocketAddrExt>::from_abstract_name(&name).unwrap();
    let abstract_listener = UnixListener::bind_addr(&address).unwrap();
    abstract_listener.set_nonblocking(true).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let path_listener = UnixListener::bind(&path).unwrap();
    path_listener.set_nonblocking(true).unwrap();
    let source = format!(
        r"
for host in ('127.0.0.1', '127.0.0.2', '0.0.0.0'):
    refused(host, lambda: socket.create_connection((host, {port}), 1))
refused('loopback 6', lambda: socket.create_connection(('::1', {port}), 1))
refused('internet', lambda: socket.create_connection(('1.1.1.1', 53), 1))
refused('metadata service', lambda: socket.create_connection(('169.254.169.254', 80), 1))
refused('datagram', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('1.1.1.1', 53)))
refused('name', lambda: socket.getaddrinfo('example.com', 80))
refused('abstract', lambda: socket.socket(socket.AF_UNIX).connect('\0{name}'))
refused('path', lambda: socket.socket(socket.AF_UNIX).connect('{path}'))
interfaces = [name for _, name in socket.if_nameindex()]
if interfaces != ['lo']: print(interfaces)
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname(), 5)
",
        path = path.display()
    );
    nothing_works("network", &source).await;
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(abstract_listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(path_listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn raw_and_exotic_sockets() {
    let source = r"
E = errno.EPERM
refused('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1), E)
refused('raw 6', lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58), E)
refused('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0), E)
refused('sctp', lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132), E)
refused('dccp', lambda: socket.socket(socket.AF_INET, 6, 33), E)
refused('udp lite', lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, 136), E)
# ax25, ipx, appletalk, netrom, x25, key, ash, econet, rds, irda, pppox, llc, can, tipc, bluetooth, ..., alg, nfc, vsock,
# kcm, qipcrtr, smc, xdp, mctp: some of which reach hypervisors, others make the kernel load code.
for family in [f for f in range(3, 47) if f not in (10, 16)]:
    for kind in (1, 2, 3, 5):
        refused(f'family {family}', lambda: libc.socket(family, kind, 0), E)
refused('family with a high word', lambda: libc.syscall(41, ctypes.c_long(0x100000026), 5, 0), E)
for protocol in range(1, 23): refused(f'netlink {protocol}', lambda: libc.socket(16, 3, protocol), E)
refused('tipc pair', lambda: libc.socketpair(30, 1, 0, (ctypes.c_int * 2)()), E)
socket.socketpair()
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
";
    nothing_works("exotic sockets", source).await;
}

/// Changing the private network is as forbidden as reaching the host's.
#[tokio::test]
async fn network_administration() {
    let source = r"
E = errno.EPERM
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
refused('interface down', lambda: fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0)), E)
refused('bind to device', lambda: s.setsockopt(socket.SOL_SOCKET, 36, 1), E)
refused('buffer beyond the limit', lambda: s.setsockopt(socket.SOL_SOCKET, 32, 1 << 30), E)
refused('firewall', lambda: s.setsockopt(0, 64, b'\0' * 200))
refused('low port', lambda: s.bind(('127.0.0.1', 53)))
refused('sysctl', lambda: open('/proc/sys/net/ipv4/ip_forward', 'w'))
";
    nothing_works("network administration", source).await;
}
