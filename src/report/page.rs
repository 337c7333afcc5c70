//! A page by itself: to look at, to print and to keep. It loads nothing and runs nothing, and says so to the
//! browser; it can be read in black and white.

/// A page with this title and body. Whoever makes the body has escaped what is in it.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en-GB\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title)
    )
}

/// Text as HTML has it, in an element or in quotes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What no HTML may have, escaped or not.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{FFFD}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// An instant as the log writes it, as people read it: to the second, in UTC. Other text stays as it is.
pub fn utc(instant: &str) -> String {
    let at: Option<jiff::Timestamp> = instant.parse().ok();
    match at {
        Some(at) => at.strftime("%-d %b %Y %H:%M:%S UTC").to_string(),
        None => escape(instant),
    }
}

/// A cell of a table.
pub struct Cell {
    class: &'static str,
    is_heading: bool,
    html: String,
}

impl Cell {
    /// What its row is about.
    pub fn head(text: &str) -> Self {
        Self { class: "", is_heading: true, html: escape(text) }
    }

    /// Words.
    pub fn text(text: &str) -> Self {
        Self { class: "", is_heading: false, html: escape(text) }
    }

    /// A number, or what lines up like one.
    pub fn number(text: &str) -> Self {
        Self { class: " class=\"number\"", is_heading: false, html: escape(text) }
    }

    /// A name that stays on one line.
    pub fn name(text: &str) -> Self {
        Self { class: " class=\"whole\"", is_heading: false, html: escape(text) }
    }

    /// An id or a code: broken anywhere.
    pub fn code(text: &str) -> Self {
        Self { class: " class=\"code\"", is_heading: false, html: escape(text) }
    }

    /// An instant, as the log writes it.
    pub fn time(instant: &str) -> Self {
        Self { class: " class=\"whole\"", is_heading: false, html: utc(instant) }
    }
}

/// A table with this caption, these headings and rows. Headings stand over numbers as numbers do.
pub fn table(
    caption: &str,
    headings: &[&str],
    rows: impl IntoIterator<Item = Vec<Cell>>,
) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let mut html = format!("<table>\n<caption>{}</caption>\n<thead><tr>", escape(caption));
    for (heading, at) in headings.iter().zip(0..) {
        let class =
            rows.first().and_then(|row: &Vec<Cell>| row.get(at)).map_or("", |cell| cell.class);
        html.push_str(&format!("<th scope=\"col\"{class}>{}</th>", escape(heading)));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for Cell { class, is_heading, html: cell } in row {
            let (open, close) = if is_heading { ("th scope=\"row\"", "th") } else { ("td", "td") };
            html.push_str(&format!("<{open}{class}>{cell}</{close}>"));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n");
    html
}

const STYLE: &str = "\
html { font: 16px/1.45 sans-serif; color: #000; background: #fff; }
body { margin: 0; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem 1.5rem; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.25rem; margin-top: 2rem; border-top: 2px solid #000; padding-top: .5rem; }
table { border-collapse: collapse; width: 100%; margin: 1.5rem 0; font-size: .85rem; }
caption { text-align: left; font-weight: bold; font-size: 1rem; padding-bottom: .4rem; }
th, td { border-bottom: 1px solid #888; padding: .25rem .5rem; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #000; vertical-align: bottom; }
tbody th { font-weight: bold; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.whole { min-width: 7em; }
.code { overflow-wrap: anywhere; font-family: monospace; font-size: .8rem; }
thead .number { white-space: normal; }
thead .code { font: inherit; font-weight: bold; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .3rem 0; }
dt { font-weight: bold; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #888; padding: .5rem; font-size: .8rem; }
svg { width: 100%; height: auto; }
.secret { border: 3px solid #000; padding: .5rem .8rem; font-weight: bold; }
@page { size: A4 landscape; margin: 12mm; }
@media print { main { padding: 0; max-width: none; } tr, dl { break-inside: avoid; } thead { display: table-header-group; } }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_page_is_read_as_markup() {
        assert_eq!(
            escape("<b title='x'>\"&\u{1b}\n"),
            "&lt;b title=&#39;x&#39;&gt;&quot;&amp;\u{FFFD}\n"
        );
        let made =
            page("<t>", &table("<c>", &["<h>"], [vec![Cell::head("<r>"), Cell::time("<x>")]]));
        for name in ["t", "c", "h", "r", "x"] {
            assert!(
                !made.contains(&format!("<{name}>")) && made.contains(&format!("&lt;{name}&gt;"))
            );
        }
        assert_eq!(utc("2026-11-26T09:05:07.250Z"), "26 Nov 2026 09:05:07 UTC");
    }
}
