//! What the objects are called whose work Node gives to libuv's pool.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::runtime::image::Image;

/// What names of vtables begin with: in Node's own namespace, and in that of Node-API, which is in a nameless one
/// (<https://github.com/nodejs/node/blob/v24.0.0/src/node_api.cc>, the same in v18 to v26).
const VTABLES: [&str; 2] = ["_ZTVN4node", "_ZTVN12_GLOBAL__N_16uvimpl"];

/// A class whose objects may give work to the thread pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// What its work is called: `crypto.pbkdf2`, `zlib`.
    pub name: String,
    /// Bytes of its vtable. An object may point at any part of it.
    pub size: u64,
}

/// Classes by where their vtables are, as the file was linked.
pub(super) fn classes(image: &Image) -> BTreeMap<u64, Class> {
    let named = image.beginning_with(&VTABLES);
    let classes = named.map(|(place, name)| {
        let (name, size) = (kind(name), place.end - place.start);
        (place.start, Class { name, size })
    });
    classes.collect()
}

/// What the class is for, from its mangled name (<https://itanium-cxx-abi.github.io/cxx-abi/abi.html#mangling>): only the
/// identifiers in it are read, each of which has its length before it.
fn kind(mangled: &str) -> String {
    let names = identifiers(mangled);
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    let traits = names
        .iter()
        .rev()
        .find_map(|name| name.strip_suffix("Traits"));
    match (traits, names.last()) {
        (Some(of), _) if has("crypto") => format!("crypto.{}", words(of)),
        _ if has("Zlib") => "zlib".to_owned(),
        _ if has("Brotli") => "brotli".to_owned(),
        _ if has("Zstd") => "zstd".to_owned(),
        _ if has("uvimpl") => "napi".to_owned(),
        (_, Some(last)) => format!("work.{}", words(last)),
        (_, None) => "work".to_owned(),
    }
}

fn identifiers(mangled: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = mangled;
    while let Some(at) = rest.find(|of: char| of.is_ascii_digit()) {
        let from = &rest[at..];
        // Between letters of the grammar, as in `S0_`, a digit is no length.
        let is_substitution = at > 0 && rest[..at].ends_with('S');
        let digits = from
            .find(|of: char| !of.is_ascii_digit())
            .unwrap_or(from.len());
        let (length, after) = from.split_at(digits);
        let length = length.parse::<usize>().ok().filter(|_| !is_substitution);
        match length.and_then(|length| after.split_at_checked(length)) {
            Some((name, after)) => {
                names.push(name);
                rest = after;
            }
            None => rest = after,
        }
    }
    names
}

/// `RandomBytes` as `random_bytes`.
fn words(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut words = String::with_capacity(name.len() + 4);
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| letters.get(before));
        let begins = before.is_some_and(|before| {
            let ends = before.is_lowercase();
            let next = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
            letter.is_uppercase() && (ends || (before.is_uppercase() && next))
        });
        if begins {
            words.push('_');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_go_by_what_they_do() {
        let said: Vec<String> = [
            "_ZTVN4node6crypto13DeriveBitsJobINS0_12PBKDF2TraitsEEE",
            "_ZTVN4node6crypto13DeriveBitsJobINS0_17RandomBytesTraitsEEE",
            "_ZTVN4node6crypto9KeyGenJobINS0_16KeyPairGenTraitsINS0_15RsaKeyGenTraitsEEEEE",
            "_ZTVN4node6crypto9CipherJobINS0_15AESCipherTraitsEEE",
            "_ZTVN4node12_GLOBAL__N_110ZlibStreamE",
            "_ZTVN4node12_GLOBAL__N_123BrotliCompressionStreamINS0_20BrotliEncoderContextEEE",
            "_ZTVN12_GLOBAL__N_16uvimpl4WorkE",
            "_ZTVN4node10BlobWorkerE",
            "_ZTV",
            "_ZTVN4node99short",
        ]
        .map(kind)
        .into();
        assert_eq!(
            said,
            [
                "crypto.pbkdf2",
                "crypto.random_bytes",
                "crypto.rsa_key_gen",
                "crypto.aes_cipher",
                "zlib",
                "brotli",
                "napi",
                "work.blob_worker",
                "work",
                "work.node",
            ]
        );
    }
}
