//! The tables of a run directory: `dataset`, `rejected`, `replies`, `verdicts`, `stages`, `prices`.

use std::path::{Path, PathBuf};

use polars::error::{PolarsError, PolarsResult};
use polars::prelude::{
    DataFrame, DataType, IntoLazy, NULL, RowIndex, ScanArgsParquet, SortMultipleOptions, SortOptions, col,
    lit,
};
use polars::sql::{SQLContext, extract_table_identifiers};

use super::groups::counted;
use super::{collect, message, scan};
use crate::error::{Error, Result};
use crate::frame::journal::table_files;
use crate::frame::run_dir::RunDir;
use crate::frame::{dataset, part};

/// Words that a question can begin with; anything else polars knows would change tables.
const ASKING: [&str; 5] = ["SELECT", "WITH", "FROM", "VALUES", "TABLE"];

/// How the line begins that names columns a run need not have.
const OPTIONAL: &str = "-- optional: ";

/// The column that numbers rows.
const ROW: &str = "__row";

/// The tables of one run, to ask questions of in SQL.
pub struct Tables {
    run: PathBuf,
    context: SQLContext,
    tables: Vec<Table>,
}

struct Table {
    name: &'static str,
    files: Vec<PathBuf>,
    /// Names of its columns; `None` for a table that is not written yet.
    columns: Option<Vec<String>>,
}

impl Tables {
    /// The tables that `run` has so far.
    ///
    /// # Errors
    /// A file that does not read.
    pub fn open(run: &RunDir) -> Result<Self> {
        let single = |path: PathBuf| if path.exists() { vec![path] } else { Vec::new() };
        let files = [
            ("dataset", dataset::files(&run.dataset())?),
            ("rejected", dataset::files(&run.rejected())?),
            ("replies", table_files(&run.replies())?),
            ("verdicts", table_files(&run.verdicts())?),
            ("stages", single(run.stages_table())),
            ("prices", single(run.prices_table())),
        ];
        let context = SQLContext::new();
        let mut tables = Vec::new();
        for (name, files) in files {
            let columns = match files.first() {
                None => None,
                Some(first) => {
                    let schema = part::schema(first)?;
                    context.register(
                        name,
                        scan(&files, ScanArgsParquet::default()).map_err(|e| unreadable(first, &e))?,
                    );
                    Some(schema.fields().iter().map(|field| field.name().clone()).collect())
                }
            };
            tables.push(Table { name, files, columns });
        }
        Ok(Self { run: run.path().to_owned(), context, tables })
    }

    /// The answer to `sql`, one SELECT statement over the tables.
    ///
    /// # Errors
    /// SQL that does not parse, that changes something, or names a table or column that is not there.
    ///
    /// A line `-- optional: dataset.category text, dataset.pass_rate number` in `sql` names columns that a run need not
    /// have: where they are not there, they are null.
    pub fn ask(&mut self, sql: &str) -> Result<DataFrame> {
        check_asks(sql)?;
        self.supply(sql)?;
        if let Some(answer) = self.ask_counted(sql) {
            return Ok(answer);
        }
        self.context.execute(sql).and_then(collect).map_err(|error| self.refused(sql, &error))
    }

    /// Whether the run has this table yet.
    pub fn has(&self, table: &str) -> bool {
        self.tables.iter().any(|known| known.name == table && known.columns.is_some())
    }

    /// The first rows of `table`, up to `limit`; none of a table that is not written yet.
    ///
    /// # Errors
    /// A file that does not read.
    pub fn first(&self, table: &str, limit: u32) -> Result<DataFrame> {
        self.read(table, |files| collect(scan(files, ScanArgsParquet::default())?.limit(limit)))
    }

    /// The first rows of each combination of texts in two columns, up to `limit` each, in order, for those that are
    /// `wanted`. Other columns are read of these rows only.
    ///
    /// # Errors
    /// A file that does not read.
    pub fn first_of_each(
        &self,
        table: &str,
        keys: [&str; 2],
        wanted: &[(&str, &str)],
        limit: usize,
    ) -> Result<DataFrame> {
        let numbered = |files: &[PathBuf]| {
            let row_index = Some(RowIndex { name: ROW.into(), offset: 0 });
            scan(files, ScanArgsParquet { row_index, ..ScanArgsParquet::default() })
        };
        self.read(table, |files| {
            let named = keys.map(col);
            let of_each = numbered(files)?
                .group_by(named.clone())
                .agg([col(ROW).sort(SortOptions::default()).head(Some(limit))]);
            let of_each = collect(of_each)?;
            let [first, second] =
                keys.map(|key| of_each.column(key).and_then(|column| column.str().cloned()));
            let (first, second, rows) = (first?, second?, of_each.column(ROW)?.list()?.clone());
            let mut picked = lit(false);
            for at in 0..of_each.height() {
                let key = (first.get(at).unwrap_or_default(), second.get(at).unwrap_or_default());
                if let Some(rows) = rows.get_as_series(at).filter(|_| wanted.contains(&key)) {
                    picked = rows
                        .u32()?
                        .iter()
                        .flatten()
                        .fold(picked, |picked, row| picked.or(col(ROW).eq(lit(row))));
                }
            }
            collect(numbered(files)?.filter(picked).sort([ROW], SortMultipleOptions::default()))
        })
    }

    /// What `read` makes of the files of `table`.
    fn read(&self, table: &str, read: impl Fn(&[PathBuf]) -> PolarsResult<DataFrame>) -> Result<DataFrame> {
        let known = self.tables.iter().find(|known| known.name == table);
        let Some((known, file)) = known.and_then(|known| Some((known, known.files.first()?))) else {
            return Ok(DataFrame::empty());
        };
        read(&known.files).map_err(|error| unreadable(file, &error))
    }

    /// The answer where groups can be counted. Whatever goes wrong there, goes wrong for polars too, which then tells.
    fn ask_counted(&self, sql: &str) -> Option<DataFrame> {
        let files = self.tables.iter().map(|table| (table.name, table.files.clone())).collect();
        let counted = counted(sql, &files)?;
        let mut context = self.context.clone();
        for (name, groups) in counted.tables {
            context.register(&name, groups.lazy());
        }
        context.execute(&counted.sql).and_then(collect).ok()
    }

    /// Adds the columns that `sql` calls optional to the tables that do not have them.
    fn supply(&mut self, sql: &str) -> Result<()> {
        let lists = sql.lines().filter_map(|line| line.strip_prefix(OPTIONAL));
        for item in lists.flat_map(|list| list.split(',')) {
            let (name, of) = item.trim().split_once(' ').unwrap_or((item.trim(), ""));
            let of = match of.trim() {
                "text" => DataType::String,
                "number" => DataType::Float64,
                _ => return Err(no_column(item)),
            };
            let (table, column) = name.split_once('.').ok_or_else(|| no_column(item))?;
            let table =
                self.tables.iter_mut().find(|known| known.name == table).ok_or_else(|| no_column(item))?;
            let Some(columns) =
                table.columns.as_mut().filter(|columns| columns.iter().all(|known| known != column))
            else {
                continue;
            };
            let refused =
                |error: PolarsError| Error::usage(format!("`{OPTIONAL}{item}`: {}", message(&error)));
            let plain = self.context.execute(&format!("SELECT * FROM {}", table.name)).map_err(refused)?;
            self.context.register(table.name, plain.with_column(lit(NULL).cast(of).alias(column)));
            columns.push(column.to_owned());
        }
        Ok(())
    }

    fn refused(&self, sql: &str, error: &PolarsError) -> Error {
        let named = extract_table_identifiers(sql, false, true).unwrap_or_default();
        let is_named = |table: &&Table| named.iter().any(|name| name == table.name);
        if let Some(table) = self.tables.iter().filter(is_named).find(|table| table.columns.is_none()) {
            return Error::usage(format!("{} has no table `{}` yet", self.run.display(), table.name)).hint(
                "tables are written when a run ends or is interrupted: run the same `autocodegen run` command again",
            );
        }
        let mut known: Vec<&Table> = self.tables.iter().filter(is_named).collect();
        if known.is_empty() {
            known = self.tables.iter().collect();
        }
        let columns: Vec<String> = known
            .iter()
            .filter_map(|table| {
                Some(format!("`{}` has the columns {}", table.name, table.columns.as_ref()?.join(", ")))
            })
            .collect();
        let names: Vec<&str> = self.tables.iter().map(|table| table.name).collect();
        Error::usage(format!("the query failed: {}", message(error))).hint(format!(
            "tables are {}\n{}",
            names.join(", "),
            columns.join("\n")
        ))
    }
}

fn no_column(item: &str) -> Error {
    Error::usage(format!("`{OPTIONAL}{}` names no column", item.trim()))
        .hint("write TABLE.COLUMN and its type, text or number: dataset.category text")
}

fn unreadable(path: &Path, error: &PolarsError) -> Error {
    Error::usage(format!("cannot read {}: {}", path.display(), message(error)))
        .hint("run the same `autocodegen run` command again: tables are written anew")
}

/// Refuses SQL that is no question.
fn check_asks(sql: &str) -> Result<()> {
    let mut rest = sql.trim_start();
    loop {
        let after = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else if let Some(after) = rest.strip_prefix('(') {
            after
        } else {
            break;
        };
        rest = after.trim_start();
    }
    let word: String = rest.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '_').collect();
    if ASKING.iter().any(|asking| word.eq_ignore_ascii_case(asking)) {
        return Ok(());
    }
    let what = if rest.is_empty() { "the query is empty" } else { "the query is no SELECT statement" };
    Err(Error::usage(what)
        .hint("one SELECT statement is allowed, with WITH before it if need be; tables cannot be changed"))
}

#[cfg(test)]
mod tests {
    use super::check_asks;

    #[test]
    fn only_questions_are_asked() {
        for sql in ["SELECT 1", " -- a comment\n/* and */ (select 1)", "with a AS (SELECT 1) SELECT * FROM a"]
        {
            assert!(check_asks(sql).is_ok(), "{sql}");
        }
        for sql in [
            "",
            "-- SELECT 1",
            "/* SELECT",
            "DROP TABLE dataset",
            "selects",
            "/**/ CREATE TABLE a AS SELECT 1",
        ] {
            assert!(check_asks(sql).is_err(), "{sql}");
        }
    }
}
