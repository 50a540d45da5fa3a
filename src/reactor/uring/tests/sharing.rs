//! Receives that share buffers.

use super::*;

/// 16 buffers of 1 KiB are four of 4 KiB: what comes lies in one piece, behind what came before, and a buffer that was
/// filled is filled anew once its last piece is back.
#[test]
fn receives_share_buffers_where_the_kernel_can() {
    let mut host = Host::new(NEWER, ReactorSizes { receive_buffers: 16, receive_buffer_bytes: 1024, ..SIZES }, 1);
    let (client, mut peer) = host.connect();
    host.submit(Op::Receive(client));
    let mut piece = |host: &mut Host, len: usize| {
        peer.write_all(&pattern(len)).unwrap();
        let Completion::Received { buffer, .. } = host.next() else { panic!("no bytes") };
        assert_eq!(host.reactor.bytes(buffer), &pattern(len)[..buffer.len as usize]);
        buffer
    };
    let (one, two) = (piece(&mut host, 100), piece(&mut host, 3900));
    assert_eq!((one.start, two.start, two.index == one.index), (0, 100, true));
    let three = piece(&mut host, 96);
    assert_eq!((three.start, three.len, three.index == one.index), (4000, 96, true));
    assert_eq!(host.reactor.buffers_free(), 12);
    host.reactor.release(one);
    host.reactor.release(three);
    assert_eq!(host.reactor.bytes(two), pattern(3900));
    // The other three are filled, then the first anew.
    host.reactor.release(two);
    assert_eq!(host.reactor.buffers_free(), 16);
    let full: Vec<_> = (0..3).map(|_| piece(&mut host, 4096)).collect();
    assert!(full.iter().all(|buffer| buffer.len == 4096 && buffer.index != one.index));
    let again = piece(&mut host, 1);
    assert_eq!((again.index, again.start), (one.index, 0));
}
