//! The secret that agents show when they register.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{ProcessError, failed};

/// 32 random bytes cannot be guessed, whatever the rate of tries.
const TOKEN_BYTES: usize = 32;

/// The token of `LLORCH_NODE_TOKEN` where that is set, else of the file in the data directory.
/// Whichever daemon comes first makes the file, and both read the same one.
///
/// # Errors
/// When the file cannot be made or read, or what is found is no token.
// spec: ORCH-3403, OC-CTRL-2041
pub fn node_token(data_dir: &Path, given: Option<&str>) -> Result<String, ProcessError> {
    if let Some(token) = given {
        return checked(token, "LLORCH_NODE_TOKEN");
    }
    let path = data_dir.join("node.token");
    if !path.exists() {
        make(data_dir, &path)?;
    }
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    checked(&text, &path.display().to_string())
}

fn checked(text: &str, place: &str) -> Result<String, ProcessError> {
    let token = text.trim();
    if token.len() == 2 * TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(token.to_owned())
    } else {
        Err(ProcessError::BadToken {
            place: place.to_owned(),
        })
    }
}

/// Makes the file, unless somebody else makes it first: a link never replaces what is there.
fn make(data_dir: &Path, path: &Path) -> Result<(), ProcessError> {
    let beside = data_dir.join(format!("node.token.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed("create", &beside))?;
    writeln!(file, "{}", random_hex()?).map_err(failed("write", &beside))?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside).map_err(failed("remove", &beside))?;
    match linked {
        Err(why) if why.kind() != ErrorKind::AlreadyExists => Err(failed("create", path)(why)),
        _ => Ok(()),
    }
}

fn random_hex() -> Result<String, ProcessError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; TOKEN_BYTES];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(failed("read", source))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    // spec: OC-CTRL-2041
    #[test]
    fn the_token_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let first = node_token(dir.path(), None).unwrap();
        assert_eq!(node_token(dir.path(), None).unwrap(), first);
        let mode = fs::metadata(dir.path().join("node.token"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        let other = tempfile::tempdir().unwrap();
        assert_ne!(node_token(other.path(), None).unwrap(), first);
    }

    #[test]
    fn of_many_that_come_first_all_read_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.token");
        make(dir.path(), &path).unwrap();
        let first = node_token(dir.path(), None).unwrap();
        make(dir.path(), &path).unwrap();
        assert_eq!(node_token(dir.path(), None).unwrap(), first);
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
