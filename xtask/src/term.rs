//! Colours, on a terminal only, and never when NO_COLOR is set.

use std::io::IsTerminal;

#[derive(Clone, Copy)]
pub(crate) struct Style {
    colours: bool,
}

pub(crate) fn stdout() -> Style {
    Style { colours: wanted(std::io::stdout().is_terminal()) }
}

pub(crate) fn stderr() -> Style {
    Style { colours: wanted(std::io::stderr().is_terminal()) }
}

fn wanted(terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

impl Style {
    #[cfg(test)]
    pub(crate) fn plain() -> Style {
        Style { colours: false }
    }

    pub(crate) fn has_colours(self) -> bool {
        self.colours
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
