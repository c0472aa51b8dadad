//! Tables beside a recording, read by the names of their columns.

use std::collections::HashMap;
use std::path::Path;

/// One row: column name to cell.
pub type Row = HashMap<String, String>;

/// Reads text with a heading; `separator` is a tab for the lab's own tables and a comma for the program's rows.
pub fn parse(text: &[u8], separator: u8) -> Result<Vec<Row>, String> {
    // Cells of the lab's tables are written as they are: a quote is a quote.
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).quoting(separator == b',').from_reader(text);
    let names = reader.headers().map_err(|error| error.to_string())?.clone();
    reader
        .records()
        .map(|record| {
            let record = record.map_err(|error| error.to_string())?;
            Ok(names.iter().map(str::to_owned).zip(record.iter().map(str::to_owned)).collect())
        })
        .collect()
}

/// Reads one of the lab's tables; a table that is not there has no rows.
pub fn read(path: &Path) -> Result<Vec<Row>, String> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text, b'\t').map_err(|error| format!("{}: {error}", path.display()))
}

/// The cell of a column, empty when the table has no such column.
pub fn cell<'row>(row: &'row Row, name: &str) -> &'row str {
    row.get(name).map_or("", String::as_str)
}
