"""A page as the standard library parses it: a tree that must be balanced, and its tables."""

import html.parser

VOID = {"meta", "br"}
# SVG's, which may close themselves.
DRAWN = {"path", "use", "rect", "circle", "line", "image"}


class Node:
    def __init__(self, name, attributes, parent=None):
        self.name, self.attributes, self.parent = name, dict(attributes), parent
        self.children = []

    def all(self, name=None):
        """All nodes below it, in the order of the text."""
        for child in self.children:
            if isinstance(child, Node):
                if name in (None, child.name):
                    yield child
                yield from child.all(name)

    @property
    def text(self):
        return "".join(c if isinstance(c, str) else c.text for c in self.children)


class _Parser(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = self.here = Node("", ())

    def handle_starttag(self, name, attributes):
        assert len({key for key, _ in attributes}) == len(attributes), f"{name}: {attributes}"
        node = Node(name, attributes, self.here)
        self.here.children.append(node)
        if name not in VOID:
            self.here = node

    def handle_startendtag(self, name, attributes):
        assert name in DRAWN, name
        self.here.children.append(Node(name, attributes, self.here))

    def handle_endtag(self, name):
        assert self.here.name == name, f"</{name}> closes <{self.here.name}>"
        self.here = self.here.parent

    def handle_data(self, data):
        self.here.children.append(data)


def parse(text):
    """The tree of a page; fails unless all that is opened is closed, in order."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert parser.here is parser.root, f"<{parser.here.name}> is open at the end"
    return parser.root


def section(root, identifier):
    """The section whose heading has an id."""
    (heading,) = (node for node in root.all() if node.attributes.get("id") == identifier)
    return heading.parent


def tables(root):
    """Tables as (caption, lines of texts, the first being the heads)."""
    found = []
    for table in root.all("table"):
        lines = [[c.text for c in row.children if isinstance(c, Node)] for row in table.all("tr")]
        (caption,) = table.all("caption")
        found.append((caption.text, lines))
    return found


def table(root, start):
    """The lines, without heads, of the only table whose caption starts so."""
    (lines,) = (lines for caption, lines in tables(root) if caption.startswith(start))
    return lines[1:]
