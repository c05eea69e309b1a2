//! Encodes and decodes messages as tonic's own codec does, with less room for each stream.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{self, BufferSettings};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// The room that a stream begins with, in bytes, and how much is encoded before it is sent.
///
/// A stream keeps its room for as long as it is open. tonic's own is 8 KiB: most of what a watch at rest would take.
const ROOM: usize = 512;
const AT_ONCE: usize = 32 * 1024;

/// The codec of every method.
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(ROOM, AT_ONCE))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(ROOM, AT_ONCE))
    }
}
