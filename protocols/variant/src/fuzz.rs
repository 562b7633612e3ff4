//! Bodies of fuzz targets: each takes any bytes and panics if an invariant does not hold.
//!
//! The tests run them over `testdata/corpus/<target>/`; a fuzzer calls them with what it makes up.

use crtmp_media::Limits;

use crate::Encoding;

/// XML: what can be read can be written, and then reads as the same.
pub fn variant_xml(data: &[u8]) {
    keeps(Encoding::Xml, data);
}

/// The binary notation: the same.
pub fn variant_binary(data: &[u8]) {
    keeps(Encoding::Binary, data);
}

/// JSON: the same.
pub fn variant_json(data: &[u8]) {
    keeps(Encoding::Json, data);
}

fn keeps(encoding: Encoding, data: &[u8]) {
    let limits = Limits::default();
    let value = match encoding.decode(data, &limits) {
        Ok(value) => value,
        Err(error) => {
            assert!(error.offset <= data.len(), "the error is within the message");
            return;
        }
    };
    // What is written may be larger than what was read; these are the limits of that.
    let roomy = Limits { variant_size: 64 << 20, amf_nodes: 1_000_000, amf_string: 16 << 20, ..limits };
    // Bytes are compared, since NaN equals nothing, and those of the second writing: the first has left out what
    // the notation has no room for.
    let again = |bytes: &[u8]| {
        let value = encoding.decode(bytes, &roomy).expect("what was written can be read");
        encoding.encode(&value, &roomy).expect("what was read can be written")
    };
    let first = encoding.encode(&value, &roomy).expect("what was read can be written");
    let second = again(&first);
    assert_eq!(again(&second), second);
    // Every notation can write what another has read.
    for other in [Encoding::Xml, Encoding::Binary, Encoding::Json] {
        let bytes = other.encode(&value, &roomy).expect("what was read can be written");
        other.decode(&bytes, &roomy).expect("what was written can be read");
    }
}
