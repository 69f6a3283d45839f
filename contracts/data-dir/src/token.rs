//! The secret that agents show when they register.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::error::{DataDirError, failed};
use crate::instance::beside;
use crate::secret;

/// The token of `LLORCH_NODE_TOKEN` where that is `given`, else of the file in the data directory.
/// Whichever daemon comes first makes the file, and both read the same one.
///
/// # Errors
/// When the file cannot be made or read, or what is found is no token.
// spec: ORCH-3403, OC-CTRL-2041
pub fn node_token(data_dir: &Path, given: Option<&str>) -> Result<String, DataDirError> {
    if let Some(token) = given {
        return checked(token, "LLORCH_NODE_TOKEN");
    }
    let path = data_dir.join("node.token");
    if !path.exists() {
        make(&path)?;
    }
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    checked(&text, &path.display().to_string())
}

fn checked(text: &str, place: &str) -> Result<String, DataDirError> {
    let token = text.trim();
    if token.len() == secret::DIGITS && token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(token.to_owned())
    } else {
        Err(DataDirError::BadToken {
            place: place.to_owned(),
        })
    }
}

/// Links a complete file into place, so that nobody reads half a token and nobody replaces what
/// is there.
fn make(path: &Path) -> Result<(), DataDirError> {
    let mut file = beside(path)?;
    let token = secret::new().map_err(failed("make a secret for", path))?;
    writeln!(file, "{token}").map_err(failed("write", path))?;
    match fs::hard_link(file.path(), path) {
        Err(why) if why.kind() != ErrorKind::AlreadyExists => Err(failed("create", path)(why)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    // spec: ORCH-3403, OC-CTRL-2041
    #[test]
    fn the_token_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.token");
        let first = node_token(dir.path(), None).unwrap();
        // Somebody who saw no file a moment ago changes nothing.
        make(&path).unwrap();
        assert_eq!(node_token(dir.path(), None).unwrap(), first);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "something is left beside it"
        );
        let other = tempfile::tempdir().unwrap();
        assert_ne!(node_token(other.path(), None).unwrap(), first);
    }

    #[test]
    fn a_given_token_wins_and_one_that_is_none_is_refused_by_place() {
        let dir = tempfile::tempdir().unwrap();
        let given = "ab".repeat(32);
        assert_eq!(node_token(dir.path(), Some(&given)).unwrap(), given);
        let refusal = node_token(dir.path(), Some("secret"))
            .unwrap_err()
            .to_string();
        assert!(
            refusal.starts_with("LLORCH_NODE_TOKEN holds no node token"),
            "{refusal}"
        );
        fs::write(dir.path().join("node.token"), "").unwrap();
        let refusal = node_token(dir.path(), None).unwrap_err().to_string();
        assert!(
            refusal.contains("node.token holds no node token"),
            "{refusal}"
        );
    }
}
