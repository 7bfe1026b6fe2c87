//! Frames on a stream socket: whole ones out of what arrives in pieces, and descriptors that came with them. Reads what is
//! there and no more; what a frame means is `wire`'s.

use super::wire::FRAME_LEN_MAX;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use std::{
    collections::VecDeque,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

/// How much is asked for at once. A log line is a hundred bytes, a call a few hundred.
const PIECE_LEN: usize = 64 << 10;

/// So much is made room for before any of it has come.
const EAGER_LEN: usize = 1 << 20;

/// So much is kept for the next message.
const KEPT_LEN_MAX: usize = 16 << 20;

/// A message of pieces that is no longer is put together first: to copy it costs less than to have the system gather it.
const GATHERED_LEN_MAX: usize = 512;

/// The most descriptors that come with one frame.
pub(crate) const DESCRIPTORS_MAX: usize = 4;

/// What has arrived and was not taken yet.
#[derive(Default)]
pub(crate) struct Inbox {
    /// Kept at its longest: to fill it with zeros again and again would cost more than to read into it.
    bytes: Vec<u8>,
    /// What was taken already stands before it.
    start: usize,
    /// What has arrived ends here.
    end: usize,
    /// In the order of their frames.
    pub(crate) descriptors: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Takes what is there, bytes alone: descriptors that come along are closed by the system. Answers false at the end.
    ///
    /// - `wanted`: bytes, of which all are known to come.
    pub(crate) fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        wanted: usize,
        flags: RecvFlags,
    ) -> rustix::io::Result<bool> {
        self.room(wanted);
        let end = self.end;
        let (len, _) = retry(|| recv(socket, &mut self.bytes[end..], flags))?;
        self.end += len;
        Ok(len > 0)
    }

    /// The same, with the descriptors.
    pub(crate) fn read_with_descriptors(
        &mut self,
        socket: BorrowedFd<'_>,
    ) -> rustix::io::Result<bool> {
        self.room(self.frame_len().unwrap_or(0));
        let end = self.end;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = retry(|| {
            let mut pieces = [IoSliceMut::new(&mut self.bytes[end..])];
            recvmsg(socket, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.end += received.bytes;
        Ok(received.bytes > 0)
    }

    /// Room behind what is there. A length is believed as far as its bytes have come: who promises 80 MiB and sends none costs
    /// [`EAGER_LEN`].
    fn room(&mut self, wanted: usize) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == 0 && wanted <= EAGER_LEN && self.bytes.len() > KEPT_LEN_MAX {
            // One long message is no reason to keep its memory for good.
            self.bytes = Vec::new();
        }
        let wanted = wanted.min((2 * self.end).max(EAGER_LEN));
        let len = wanted.max(self.end + PIECE_LEN / 2).max(PIECE_LEN);
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
    }

    /// What has arrived and was not taken.
    pub(crate) fn arrived(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// So many bytes of it are taken.
    pub(crate) fn take(&mut self, len: usize) {
        self.start += len;
    }

    /// Bytes of the first frame, its length included, as far as that is known.
    fn frame_len(&self) -> Option<usize> {
        let prefix = self.arrived().get(..4)?;
        let len = prefix.try_into().map(u32::from_le_bytes).ok()?;
        Some((len as usize).min(FRAME_LEN_MAX + 1) + 4)
    }

    /// The next whole frame's body; `None` until more has arrived.
    ///
    /// # Errors
    /// A length over the limit: whoever speaks so does not speak this.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, String> {
        let Some(len) = self.frame_len() else {
            return Ok(None);
        };
        if len > FRAME_LEN_MAX + 4 {
            return Err(format!("a frame of more than {FRAME_LEN_MAX} bytes"));
        }
        if self.arrived().len() < len {
            return Ok(None);
        }
        let from = self.start;
        self.start += len;
        Ok(Some(&self.bytes[from + 4..from + len]))
    }

    /// How long the frame is whose beginning has arrived.
    pub(crate) fn wanted(&self) -> usize {
        self.frame_len().unwrap_or(0)
    }
}

/// Sends what the socket takes of `bytes`, with descriptors on the first of them; answers how many bytes.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    retry(|| {
        sendmsg(
            socket,
            &[IoSlice::new(bytes)],
            &mut control,
            flags | SendFlags::NOSIGNAL,
        )
    })
}

/// Sends everything; the calling thread waits for room.
pub(crate) fn send_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let sent = send(socket, bytes, &[], SendFlags::empty())?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Sends what the socket takes of several pieces, as one message, from byte `sent` of all of them on; answers how many bytes.
pub(crate) fn send_from(
    socket: BorrowedFd<'_>,
    pieces: [&[u8]; 3],
    sent: usize,
    flags: SendFlags,
) -> rustix::io::Result<usize> {
    let flags = flags | SendFlags::NOSIGNAL;
    let len: usize = pieces.iter().map(|piece| piece.len()).sum();
    if len <= GATHERED_LEN_MAX {
        let (mut whole, mut end) = ([0; GATHERED_LEN_MAX], 0);
        for piece in pieces {
            whole[end..end + piece.len()].copy_from_slice(piece);
            end += piece.len();
        }
        return retry(|| rustix::net::send(socket, &whole[sent..len], flags));
    }
    let mut skip = sent;
    let rest = pieces.map(|piece| {
        let from = skip.min(piece.len());
        skip -= from;
        IoSlice::new(&piece[from..])
    });
    let mut none = SendAncillaryBuffer::default();
    retry(|| sendmsg(socket, &rest, &mut none, flags))
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::isolated::{process::socket_pair, wire::encode};
    use std::os::fd::AsFd as _;

    fn flags() -> RecvFlags {
        RecvFlags::DONTWAIT
    }

    #[test]
    fn frames_come_whole_however_they_arrive() {
        let (ours, theirs) = socket_pair().expect("a pair");
        let frames: Vec<Vec<u8>> = (0..20_usize)
            .map(|n| encode(&vec![7_u8; n * 997]).expect("short"))
            .collect();
        let all = frames.concat();
        let mut inbox = Inbox::default();
        let mut seen = Vec::new();
        // Pieces of a length that shares nothing with the frames'.
        for piece in all.chunks(613) {
            send_all(theirs.as_fd(), piece).expect("room");
            let wanted = inbox.wanted();
            assert!(inbox.read(ours.as_fd(), wanted, flags()).expect("bytes"));
            while let Some(body) = inbox.next().expect("in bounds") {
                seen.push(body.to_vec());
            }
        }
        let bodies: Vec<&[u8]> = frames.iter().map(|frame| &frame[4..]).collect();
        assert_eq!(seen, bodies);
        assert_eq!(
            inbox.read(ours.as_fd(), 0, flags()),
            Err(rustix::io::Errno::AGAIN)
        );
        drop(theirs);
        assert_eq!(inbox.read(ours.as_fd(), 0, flags()), Ok(false));
    }

    #[test]
    fn pieces_come_one_behind_the_other_whatever_was_sent_of_them() {
        for len in [1, GATHERED_LEN_MAX - 60, GATHERED_LEN_MAX - 59, 5000] {
            let (head, offsets, bytes) = ([1; 40], [2; 20], vec![3; len]);
            let pieces = [&head[..], &offsets, &bytes];
            let whole = pieces.concat();
            for sent in [0, 1, 39, 40, 41, 60, whole.len() - 1] {
                let (ours, theirs) = socket_pair().expect("a pair");
                let more = send_from(theirs.as_fd(), pieces, sent, SendFlags::DONTWAIT);
                assert_eq!(more, Ok(whole.len() - sent));
                let mut inbox = Inbox::default();
                let read = inbox.read(ours.as_fd(), whole.len(), flags());
                assert_eq!((read, inbox.arrived()), (Ok(true), &whole[sent..]));
            }
        }
    }

    #[test]
    fn a_length_over_the_limit_is_no_frame() {
        let (ours, theirs) = socket_pair().expect("a pair");
        send_all(theirs.as_fd(), &u32::MAX.to_le_bytes()).expect("room");
        let mut inbox = Inbox::default();
        assert_eq!(inbox.read(ours.as_fd(), 0, flags()), Ok(true));
        assert!(inbox.next().is_err());
        // Nor does it make the buffer grow.
        assert!(inbox.wanted() <= FRAME_LEN_MAX + 5);
    }

    #[test]
    fn descriptors_come_with_their_frame_and_bytes_alone_without() {
        let (ours, theirs) = socket_pair().expect("a pair");
        let frame = encode(&"hello").expect("short");
        let file = tempfile::tempfile().expect("a file");
        let twice = [file.as_fd(), file.as_fd()];
        for _ in 0..2 {
            let sent = send(theirs.as_fd(), &frame, &twice, SendFlags::empty());
            assert_eq!(sent, Ok(frame.len()));
        }
        let mut inbox = Inbox::default();
        assert_eq!(inbox.read_with_descriptors(ours.as_fd()), Ok(true));
        assert_eq!(inbox.descriptors.len(), 2);
        assert!(inbox.next().expect("in bounds").is_some());
        // A host never takes any: what a worker sends is closed by the system.
        assert_eq!(inbox.read(ours.as_fd(), 0, flags()), Ok(true));
        assert_eq!(inbox.descriptors.len(), 2);
    }
}
