//! A short digest of some texts, by which they are told from others.

use sha2::{Digest, Sha256};

/// Sixteen hexadecimal digits that stand for these texts, one after the other, whatever they contain.
pub fn digest_of(texts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(text.len().to_be_bytes());
        digest.update(text.as_bytes());
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
