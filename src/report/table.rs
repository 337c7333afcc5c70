//! Figures as CSV (RFC 4180), for spreadsheets: which take a cell that begins like a formula for one, so
//! that no cell does.

/// Lines of cells under these headings.
pub fn csv(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = line(headings.iter().map(|heading| (*heading).to_owned()));
    rows.into_iter().for_each(|row| text.push_str(&line(row)));
    text
}

fn line(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<_> = cells.into_iter().map(cell).collect();
    format!("{}\r\n", cells.join(","))
}

fn cell(text: String) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        format!("'{text}")
    } else {
        text
    };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_every_cell_is_one_cell() {
        for (text, written) in [
            ("test-police", "test-police"),
            ("", ""),
            ("=1+1", "'=1+1"),
            ("+441632960001", "'+441632960001"),
            ("-2", "'-2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("a,b", "\"a,b\""),
            ("=\"a\",\n", "\"'=\"\"a\"\",\n\""),
        ] {
            assert_eq!(cell(text.to_owned()), written);
        }
        let rows = [vec!["1".to_owned(), "2".to_owned()]];
        assert_eq!(csv(&["a", "b"], rows), "a,b\r\n1,2\r\n");
    }
}
