//! What a document of the repository has in its fenced blocks.

/// The fenced blocks of one language, in their order.
pub fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(tag), None) => open = Some((tag == language, String::new())),
            (Some(_), Some(_)) => {
                if let Some((true, block)) = open.take() {
                    blocks.push(block);
                }
                open = None;
            }
            (None, Some((_, block))) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// The commands of a block: a line each, and what it reads from a here-document with it.
pub fn commands(block: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = block.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            continue;
        }
        let mut command = format!("{line}\n");
        if let Some((_, end)) = line.split_once("<<") {
            for line in lines.by_ref() {
                command.push_str(line);
                command.push('\n');
                if line == end {
                    break;
                }
            }
        }
        commands.push(command);
    }
    commands
}
