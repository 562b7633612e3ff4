//! Bodies of fuzz targets: each takes any bytes and panics if an invariant does not hold.
//!
//! The tests run them over `testdata/corpus/<target>/`; a fuzzer calls them with what it makes up.

/// What peers and users files say of who somebody is: a query, a stored password and a users file in JSON, in lines.
pub fn authentication(data: &[u8]) {
    crate::auth::fuzz::authentication(data);
}
