//! The three codings behind one interface: bytes in, bytes out, and on demand everything out that went in so far.
//!
//! Windows are a fraction of what the formats allow: every response that is compressed right now has one.

use super::Coding;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::io::{self, Write as _};
use zstd::stream::raw::CParameter;

/// A stream that is being compressed.
pub(crate) struct Encoder(Kind);

enum Kind {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    Finished,
}

/// Window of brotli: 512 KiB, as nginx's module has it.
const BROTLI_WINDOW: u32 = 19;
/// Window of zstd: 512 KiB; clients must take 8 MiB (RFC 9659).
const ZSTD_WINDOW: u32 = 19;
const BROTLI_BUFFER: usize = 4096;

// === impl Encoder ===

impl Encoder {
    pub(super) fn new(coding: Coding, level: u32) -> io::Result<Self> {
        Ok(Self(match coding {
            Coding::Gzip => Kind::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(level)))),
            Coding::Brotli => {
                let encoder = brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, level, BROTLI_WINDOW);
                Kind::Brotli(Box::new(encoder))
            }
            Coding::Zstd => {
                let level = i32::try_from(level).map_err(io::Error::other)?;
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW))?;
                Kind::Zstd(Box::new(encoder))
            }
        }))
    }

    /// Takes bytes in; what comes out of it, possibly nothing yet.
    pub(crate) fn write(&mut self, data: &[u8]) -> io::Result<Bytes> {
        match &mut self.0 {
            Kind::Gzip(encoder) => encoder.write_all(data)?,
            Kind::Brotli(encoder) => encoder.write_all(data)?,
            Kind::Zstd(encoder) => encoder.write_all(data)?,
            Kind::Finished => {}
        }
        Ok(self.take())
    }

    /// Everything that went in and has not come out yet.
    pub(crate) fn flush(&mut self) -> io::Result<Bytes> {
        match &mut self.0 {
            Kind::Gzip(encoder) => encoder.flush()?,
            Kind::Brotli(encoder) => encoder.flush()?,
            Kind::Zstd(encoder) => encoder.flush()?,
            Kind::Finished => {}
        }
        Ok(self.take())
    }

    /// The end. Nothing comes after it.
    pub(crate) fn finish(&mut self) -> io::Result<Bytes> {
        Ok(match std::mem::replace(&mut self.0, Kind::Finished) {
            Kind::Gzip(encoder) => encoder.finish()?,
            Kind::Brotli(encoder) => encoder.into_inner(),
            Kind::Zstd(encoder) => encoder.finish()?,
            Kind::Finished => Vec::new(),
        }
        .into())
    }

    fn take(&mut self) -> Bytes {
        let out = match &mut self.0 {
            Kind::Gzip(encoder) => encoder.get_mut(),
            Kind::Brotli(encoder) => encoder.get_mut(),
            Kind::Zstd(encoder) => encoder.get_mut(),
            Kind::Finished => return Bytes::new(),
        };
        std::mem::take(out).into()
    }
}
