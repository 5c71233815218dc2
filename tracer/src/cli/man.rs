//! `tracer man`: the manual page, with a section for each subcommand.

pub(super) fn run() -> anyhow::Result<()> {
    let mut page = Vec::new();
    let mut command = super::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for subcommand in command
        .get_subcommands()
        .filter(|subcommand| !subcommand.is_hide_set())
    {
        let title = subcommand.get_name().to_uppercase();
        let man = clap_mangen::Man::new(subcommand.clone());
        page.extend_from_slice(format!(".SH \"COMMAND {title}\"\n").as_bytes());
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    super::print(&String::from_utf8_lossy(&page), None)
}
