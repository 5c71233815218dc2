//! The bytes of the container: the parts of MCAP a recording is made of, and how to recognise a chunk in a
//! damaged file (<https://mcap.dev/spec>).
//!
//! Written here and not by the `mcap` crate, which checks this module in the tests: its writer keeps an index
//! entry of every chunk in memory until the end, and a recording has a chunk per second; it also puts the
//! schemas into the first chunk of data, so that losing one chunk would lose the meaning of all.

use super::{FORMAT, MAX_CHUNK_BYTES, schema};

/// What an MCAP file begins and ends with.
pub(crate) const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";
/// The profile in the header of a recording.
pub(crate) const PROFILE: &str = "tracer";
/// The name of the metadata that says how to read the rest.
pub(crate) const METADATA: &str = "tracer.recording";
/// The key in it of the format's version.
pub(crate) const FORMAT_KEY: &str = "format";
const LIBRARY: &str = concat!("tracer ", env!("CARGO_PKG_VERSION"));

/// What a record of the container is.
pub(crate) mod op {
    pub(crate) const HEADER: u8 = 0x01;
    pub(crate) const FOOTER: u8 = 0x02;
    pub(crate) const SCHEMA: u8 = 0x03;
    pub(crate) const CHANNEL: u8 = 0x04;
    pub(crate) const MESSAGE: u8 = 0x05;
    pub(crate) const CHUNK: u8 = 0x06;
    pub(crate) const MESSAGE_INDEX: u8 = 0x07;
    pub(crate) const METADATA: u8 = 0x0c;
    pub(crate) const DATA_END: u8 = 0x0f;
    /// The lowest that is free for anyone to use.
    pub(crate) const PRIVATE: u8 = 0x80;
}

/// Bytes before a record's body: its opcode and length.
pub(crate) const PREFIX: usize = 1 + 8;

/// What a file begins with: header, format, and the schemas and channels in a chunk of their own.
pub(crate) fn preamble(
    compress: impl FnOnce(&[u8]) -> std::io::Result<Vec<u8>>,
) -> std::io::Result<Vec<u8>> {
    let mut out = MAGIC.to_vec();
    put_record(&mut out, op::HEADER, |body| {
        put_string(body, PROFILE);
        put_string(body, LIBRARY);
    });
    put_record(&mut out, op::METADATA, |body| {
        put_string(body, METADATA);
        put_map(
            body,
            &[(FORMAT_KEY, &FORMAT.to_string()), ("tool", LIBRARY)],
        );
    });
    let mut declarations = Vec::new();
    for channel in schema::Channel::ALL {
        put_record(&mut declarations, op::SCHEMA, |body| {
            body.extend(channel.number().to_le_bytes());
            put_string(body, channel.message());
            put_string(body, "protobuf");
            put_bytes(body, schema::DESCRIPTORS);
        });
        put_record(&mut declarations, op::CHANNEL, |body| {
            body.extend(channel.number().to_le_bytes());
            body.extend(channel.number().to_le_bytes());
            put_string(body, channel.topic());
            put_string(body, "protobuf");
            put_map(body, &[]);
        });
    }
    put_chunk(&mut out, (0, 0), &declarations, &compress(&declarations)?);
    Ok(out)
}

/// What a file ends with. There is no summary section.
pub(crate) fn ending() -> Vec<u8> {
    let mut out = Vec::new();
    put_record(&mut out, op::DATA_END, |body| body.extend([0; 4]));
    put_record(&mut out, op::FOOTER, |body| body.extend([0; 20]));
    out.extend(MAGIC);
    out
}

/// Where a message is in time, and on which channel.
#[derive(Clone, Copy)]
pub(crate) struct MessageHead {
    pub(crate) channel: u16,
    pub(crate) sequence: u32,
    pub(crate) log_time: u64,
    pub(crate) publish_time: u64,
}

pub(crate) fn put_message(
    out: &mut Vec<u8>,
    head: MessageHead,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    put_record(out, op::MESSAGE, |body| {
        body.extend(head.channel.to_le_bytes());
        body.extend(head.sequence.to_le_bytes());
        body.extend(head.log_time.to_le_bytes());
        body.extend(head.publish_time.to_le_bytes());
        payload(body);
    });
}

/// A chunk of `records`, whose messages lie between `times`.
pub(crate) fn put_chunk(out: &mut Vec<u8>, times: (u64, u64), records: &[u8], compressed: &[u8]) {
    put_record(out, op::CHUNK, |body| {
        body.extend(times.0.to_le_bytes());
        body.extend(times.1.to_le_bytes());
        body.extend((records.len() as u64).to_le_bytes());
        body.extend(crc32fast::hash(records).to_le_bytes());
        put_string(body, "zstd");
        body.extend((compressed.len() as u64).to_le_bytes());
        body.extend(compressed);
    });
}

fn put_record(out: &mut Vec<u8>, opcode: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(opcode);
    let length_at = out.len();
    out.extend([0; 8]);
    body(out);
    let length = (out.len() - length_at - 8) as u64;
    if let Some(place) = out.get_mut(length_at..length_at + 8) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_map(out: &mut Vec<u8>, entries: &[(&str, &str)]) {
    let mut body = Vec::new();
    for (key, value) in entries {
        put_string(&mut body, key);
        put_string(&mut body, value);
    }
    put_bytes(out, &body);
}

/// Reads fields from the front of some bytes; `None` when there are not enough.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    pub(crate) fn string(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The value of `key` in a map of strings.
    pub(crate) fn lookup(&mut self, key: &str) -> Option<&'a str> {
        let mut entries = Fields(self.bytes()?);
        let mut found = None;
        while !entries.0.is_empty() {
            let (name, value) = (entries.string()?, entries.string()?);
            if name == key {
                found = Some(value);
            }
        }
        found
    }

    /// The opcode and length a record begins with.
    pub(crate) fn prefix(&mut self) -> Option<(u8, u64)> {
        let [opcode] = self.array()?;
        Some((opcode, self.u64()?))
    }

    /// A whole record: its opcode and body.
    pub(crate) fn record(&mut self) -> Option<(u8, &'a [u8])> {
        let (opcode, length) = self.prefix()?;
        Some((opcode, self.take(usize::try_from(length).ok()?)?))
    }

    pub(crate) fn message_head(&mut self) -> Option<MessageHead> {
        Some(MessageHead {
            channel: self.u16()?,
            sequence: self.u32()?,
            log_time: self.u64()?,
            publish_time: self.u64()?,
        })
    }
}

/// What a chunk says about itself before its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkHead {
    /// Length of the chunk's body.
    pub(crate) length: u64,
    records_length: u64,
    crc: u32,
}

impl ChunkHead {
    /// Bytes of a chunk's body before its data.
    const BODY: usize = 8 + 8 + 8 + 4 + (4 + 4) + 8;
    /// Bytes of a chunk that are needed to recognise it.
    pub(crate) const BYTES: usize = PREFIX + Self::BODY + Self::ZSTD.len();
    /// What a zstd frame begins with (RFC 8878, section 3.1.1).
    const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

    /// Recognises the beginning of a chunk. Its two lengths have to agree, so a wrong byte in either is noticed
    /// before anything is skipped on its word. The opcode is not looked at: with it damaged, this is
    /// still a chunk, and its CRC has the last word.
    pub(crate) fn recognise(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (_opcode, length) = fields.prefix()?;
        let _times = (fields.u64()?, fields.u64()?);
        let records_length = fields.u64()?;
        let crc = fields.u32()?;
        let compression = fields.string()?;
        let data_length = fields.u64()?;
        let agree = compression == "zstd"
            && data_length.checked_add(Self::BODY as u64) == Some(length)
            && fields.0.starts_with(&Self::ZSTD);
        agree.then_some(Self {
            length,
            records_length,
            crc,
        })
    }

    /// The chunk's records, out of its `body`, or `None` when they are not what was written.
    pub(crate) fn decompress(
        &self,
        body: &[u8],
        with: &mut zstd::bulk::Decompressor<'_>,
        mut records: Vec<u8>,
    ) -> Option<Vec<u8>> {
        if self.records_length > MAX_CHUNK_BYTES {
            return None;
        }
        let expected = usize::try_from(self.records_length).ok()?;
        records.clear();
        records.reserve_exact(expected);
        with.decompress_to_buffer(body.get(Self::BODY..)?, &mut records)
            .ok()?;
        (records.len() == expected && crc32fast::hash(&records) == self.crc).then_some(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> Vec<u8> {
        let records = b"records".repeat(9);
        let mut out = Vec::new();
        put_chunk(
            &mut out,
            (1, 2),
            &records,
            &zstd::bulk::compress(&records, 1).unwrap(),
        );
        out
    }

    #[test]
    fn a_chunk_is_recognised_by_its_beginning() {
        let chunk = chunk();
        let head = ChunkHead::recognise(chunk.get(..ChunkHead::BYTES).unwrap()).unwrap();
        assert_eq!(head.length as usize, chunk.len() - PREFIX);
        assert_eq!(
            ChunkHead::recognise(chunk.get(..ChunkHead::BYTES - 1).unwrap()),
            None
        );
    }

    #[test]
    fn a_chunk_with_a_wrong_length_is_not_recognised() {
        let lengths = (1..PREFIX).chain(PREFIX + ChunkHead::BODY - 8..PREFIX + ChunkHead::BODY);
        for at in lengths {
            let mut chunk = chunk();
            chunk[at] ^= 1;
            assert_eq!(ChunkHead::recognise(&chunk), None, "byte {at}");
        }
    }

    #[test]
    fn a_chunk_gives_its_records_or_nothing() {
        let mut with = zstd::bulk::Decompressor::new().unwrap();
        let whole = chunk();
        for at in PREFIX + 16..whole.len() {
            let mut chunk = whole.clone();
            chunk[at] ^= 0x10;
            let records = ChunkHead::recognise(&chunk)
                .and_then(|head| head.decompress(&chunk[PREFIX..], &mut with, Vec::new()));
            assert!(
                records.is_none_or(|records| records == b"records".repeat(9)),
                "byte {at}"
            );
        }
    }
}
