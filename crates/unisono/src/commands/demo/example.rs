//! The example `tenant`, as it came with this program.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tenant/", $name)))),*]
    };
}

const FILES: [(&str, &str); 8] = files![
    "agent.yaml",
    "definitions.yaml",
    "input.json",
    "lib.sh",
    "did.sh",
    "stage.sh",
    "apply.sh",
    "ingress.sh"
];

/// Writes the files of the example into a directory, scripts with the right to be executed.
///
/// # Errors
/// What the system said.
pub(super) fn write(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (name, text) in FILES {
        let file = directory.join(name);
        fs::write(&file, text)?;
        if name.ends_with(".sh") {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_file_of_the_example_is_in_the_program() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tenant");
        let mut there: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| name != ".gitignore")
            .collect();
        let mut here = FILES.map(|(name, _)| name.to_owned());
        there.sort();
        here.sort();
        assert_eq!(there, here);
    }
}
