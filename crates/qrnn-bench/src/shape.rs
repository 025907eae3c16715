//! The shape of a model as a flag: `300-1800-split`.

#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub emsize: usize,
    pub nhid: usize,
    pub split: bool,
}

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || "write for example 128-256-plain or 300-1800-split".to_owned();
        let parts: Vec<&str> = text.split('-').collect();
        let &[emsize, nhid, softmax] = parts.as_slice() else { return Err(usage()) };
        let split = match softmax {
            "split" => true,
            "plain" => false,
            _ => return Err(usage()),
        };
        let size = |text: &str| qrnn::command_line::numbers::size(text).map_err(|_| usage());
        Ok(Self { emsize: size(emsize)?, nhid: size(nhid)?, split })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let softmax = if self.split { "split" } else { "plain" };
        write!(f, "{}-{}-{softmax}", self.emsize, self.nhid)
    }
}
