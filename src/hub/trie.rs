//! Values by patterns, found by the names that match: a tree of levels.
//!
//! Without: what the values mean.

/// Patterns by their levels, each with a value.
#[derive(Debug)]
pub struct Trie<T> {
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
}

/// The node before the first level.
const ROOT: u32 = 0;

#[derive(Debug)]
struct Node<T> {
    /// By the next level, `*` among them; in order.
    below: Vec<(Box<str>, u32)>,
    /// Of the pattern that ends here.
    here: Option<T>,
    /// Of the pattern that ends with `>` below here.
    rest: Option<T>,
}

impl<T> Node<T> {
    const NEW: Node<T> = Node { below: Vec::new(), here: None, rest: None };

    fn place(&self, level: &str) -> Result<usize, usize> {
        self.below.binary_search_by(|(other, _)| (**other).cmp(level))
    }

    fn is_unused(&self) -> bool {
        self.below.is_empty() && self.here.is_none() && self.rest.is_none()
    }
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Trie { nodes: vec![Node::NEW], free: Vec::new() }
    }
}

impl<T> Trie<T> {
    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() - self.free.len() == 1 && self.nodes[ROOT as usize].is_unused()
    }

    /// The value of a pattern, made where it is not there. The text is that of a pattern.
    pub fn entry(&mut self, pattern: &str) -> &mut Option<T> {
        let mut at = ROOT;
        for level in pattern.split('.') {
            if level == ">" {
                return &mut self.nodes[at as usize].rest;
            }
            at = match self.nodes[at as usize].place(level) {
                Ok(place) => self.nodes[at as usize].below[place].1,
                Err(place) => {
                    let node = self.free.pop().unwrap_or_else(|| {
                        self.nodes.push(Node::NEW);
                        (self.nodes.len() - 1) as u32
                    });
                    self.nodes[at as usize].below.insert(place, (level.into(), node));
                    node
                }
            };
        }
        &mut self.nodes[at as usize].here
    }

    /// Takes a pattern that is here out.
    pub fn remove(&mut self, pattern: &str) -> Option<T> {
        let (mut at, mut path) = (ROOT, Vec::new());
        for level in pattern.split('.').filter(|level| *level != ">") {
            let place = self.nodes[at as usize].place(level).ok()?;
            path.push((at, place));
            at = self.nodes[at as usize].below[place].1;
        }
        let node = &mut self.nodes[at as usize];
        let is_rest = pattern == ">" || pattern.ends_with(".>");
        let value = if is_rest { node.rest.take() } else { node.here.take() };
        while self.nodes[at as usize].is_unused()
            && let Some((above, place)) = path.pop()
        {
            self.nodes[at as usize] = Node::NEW;
            self.free.push(at);
            self.nodes[above as usize].below.remove(place);
            at = above;
        }
        value
    }

    /// The value of each pattern that the name matches. Each node is looked at once at most, so this costs no more than there
    /// are patterns.
    pub fn each<'t>(&'t self, name: &str, mut found: impl FnMut(&'t T)) {
        let mut open = vec![(ROOT, Some(name))];
        while let Some((at, rest)) = open.pop() {
            let node = &self.nodes[at as usize];
            let Some(rest) = rest else {
                node.here.iter().for_each(&mut found);
                continue;
            };
            node.rest.iter().for_each(&mut found);
            let (level, rest) = rest.split_once('.').map_or((rest, None), |(level, rest)| (level, Some(rest)));
            for level in [level, "*"] {
                if let Ok(place) = node.place(level) {
                    open.push((node.below[place].1, rest));
                }
            }
        }
    }

    /// Whether the name matches any.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut any = false;
        self.each(name, |_| any = true);
        any
    }
}
