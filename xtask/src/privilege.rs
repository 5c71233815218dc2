//! Running a command as root: directly, or through a sudo that does not ask.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use crate::quiet::by_hand;

/// `command` as root may run it. Fails with the line to type when that would need a password.
pub(crate) fn as_root(command: Command) -> Result<Command> {
    if is_root() {
        return Ok(command);
    }
    if !sudo_does_not_ask() {
        bail!("this needs root\n  run: sudo {}", by_hand(&command));
    }
    Ok(through_sudo(&command))
}

/// Fails when [`as_root`] would, whatever the command.
pub(crate) fn check() -> Result<()> {
    if !is_root() && !sudo_does_not_ask() {
        bail!("this needs root\n  run: sudo -v, and then this again");
    }
    Ok(())
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    // The kernel gives a process's directory to its effective user.
    fs::metadata("/proc/self").is_ok_and(|facts| facts.uid() == 0)
}

fn sudo_does_not_ask() -> bool {
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sudo.status().is_ok_and(|status| status.success())
}

// sudo drops the environment, so what the command sets goes through env.
fn through_sudo(command: &Command) -> Command {
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "env"]);
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            let mut assignment = name.to_owned();
            assignment.push("=");
            assignment.push(value);
            sudo.arg(assignment);
        }
    }
    sudo.arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        sudo.current_dir(directory);
    }
    sudo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_survive_sudo() {
        let mut install = Command::new("apt-get");
        install
            .args(["install", "-y"])
            .env("DEBIAN_FRONTEND", "noninteractive");
        assert_eq!(
            by_hand(&through_sudo(&install)),
            "sudo -n env DEBIAN_FRONTEND=noninteractive apt-get install -y"
        );
    }
}
