//! Questions about groups, answered by counting: a faster way to the same answer for the commonest of all questions.
//!
//! `SELECT keys, aggregates FROM table WHERE conditions GROUP BY keys` over columns of text that repeat and of whole
//! numbers is answered by one pass that all cores share: each row belongs to a cell, the combination of the texts it
//! has in the columns that the question names; cells count rows, sum numbers and, where a quantile is wanted, count
//! how often each number came. That is exact, takes memory for the cells instead of the rows, and reads text as the
//! dictionaries that it is stored as. What expressions over text are worth is asked of polars, once per cell.
//!
//! The SELECT is then replaced with one over the table of groups, and polars answers the rest of the question. Whatever
//! is not of this kind, or turns out to have too many cells, is left to polars as it is.

mod histogram;
mod question;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use polars::error::PolarsResult;
use polars::prelude::{Column, DataFrame, DataType, IntoLazy, NamedFrom, Series};
use polars::sql::SQLContext;
use sqlparser::ast::{
    GroupByExpr, ObjectName, Query, Select, SelectItem, SetExpr, Statement, TableFactor, VisitMut, VisitorMut,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use self::histogram::quantile;
use self::question::{
    Aggregate, Argument, Kind, Question, What, aggregate_name, grouped_table, replace_calls,
};
use self::scan::{Cell, Tally, count};
use super::collect;
use crate::frame::chunks::Chunks;
use crate::frame::part;

/// A question with the groups in it already counted.
pub(super) struct Counted {
    /// The question that is left.
    pub(super) sql: String,
    /// The tables of groups that it asks about, by name.
    pub(super) tables: Vec<(String, DataFrame)>,
}

/// Counts the groups that `sql` asks about; `files` gives the files of a table. `None` where there are none to count.
pub(super) fn counted(sql: &str, files: &BTreeMap<&str, Vec<PathBuf>>) -> Option<Counted> {
    let mut statements = Parser::parse_sql(&GenericDialect {}, sql).ok()?;
    let [Statement::Query(query)] = statements.as_mut_slice() else { return None };
    let mut rewriter = Rewriter { files, named: Vec::new(), tables: Vec::new() };
    let _ = VisitMut::visit(query, &mut rewriter);
    (!rewriter.tables.is_empty()).then(|| Counted { sql: query.to_string(), tables: rewriter.tables })
}

struct Rewriter<'a> {
    files: &'a BTreeMap<&'a str, Vec<PathBuf>>,
    /// Names that the question gives to tables of its own.
    named: Vec<String>,
    tables: Vec<(String, DataFrame)>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.named.extend(
            query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| cte.alias.name.value.clone()),
        );
        // Aggregates there would have to be replaced as well.
        let is_simple = query.order_by.as_ref().is_none_or(|order| !order.to_string().contains(['(', '.']));
        if is_simple {
            self.rewrite_set(&mut query.body);
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    fn rewrite_set(&mut self, set: &mut SetExpr) {
        match set {
            SetExpr::Select(select) => {
                if let Some((sql, groups)) = self.groups(select) {
                    let name = format!("__groups_{}", self.tables.len());
                    read_groups(select, &sql, &name);
                    self.tables.push((name, groups));
                }
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.rewrite_set(left);
                self.rewrite_set(right);
            }
            // Queries in parentheses are visited themselves.
            _ => {}
        }
    }

    /// The calls of aggregates in `select`, and the table of its groups.
    fn groups(&self, select: &Select) -> Option<(Vec<String>, DataFrame)> {
        let table = grouped_table(select)?;
        let files = self.files.get(table.as_str()).filter(|_| !self.named.contains(&table))?;
        let schema = part::schema(files.first()?).ok()?;
        let kind = |name: &str| match schema.field_with_name(name).ok()?.data_type() {
            arrow_schema::DataType::Utf8 => Some(Kind::Text),
            arrow_schema::DataType::UInt64
            | arrow_schema::DataType::Int64
            | arrow_schema::DataType::UInt32
            | arrow_schema::DataType::Int32 => Some(Kind::Number),
            _ => None,
        };
        let question = Question::of(select, &kind)?;
        let numbers = question.count.numbers.iter().map(|(name, _)| name.clone());
        let columns: Vec<String> = question.count.texts.iter().cloned().chain(numbers).collect();
        let chunks: Vec<Chunks> =
            files.iter().map(|file| Chunks::open(file, &columns)).collect::<Result<_, _>>().ok()?;
        let cells = count(&chunks, &question.count).ok()?;
        let types = |name: &str| match schema.field_with_name(name).map(arrow_schema::Field::data_type) {
            Ok(arrow_schema::DataType::UInt64) => DataType::UInt64,
            Ok(arrow_schema::DataType::Int64) => DataType::Int64,
            Ok(arrow_schema::DataType::UInt32) => DataType::UInt32,
            Ok(arrow_schema::DataType::Int32) => DataType::Int32,
            _ => DataType::String,
        };
        let groups = Answer { question: &question, types: &types }.table(&cells).ok()??;
        Some((question.aggregates.iter().map(|aggregate| aggregate.sql.clone()).collect(), groups))
    }
}

/// Makes `select` read the table `name` of groups, which has a column for each of the `calls`.
fn read_groups(select: &mut Select, calls: &[String], name: &str) {
    for item in &mut select.projection {
        if let SelectItem::ExprWithAlias { expr, .. } = item {
            replace_calls(expr, &mut |call| {
                let call = call.to_string();
                calls.iter().position(|known| *known == call)
            });
        }
    }
    if let Some(TableFactor::Table { name: table, .. }) =
        select.from.first_mut().map(|from| &mut from.relation)
    {
        *table = ObjectName::from(vec![name.into()]);
    }
    select.selection = None;
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
}

/// From cells to the table of groups.
struct Answer<'a> {
    question: &'a Question,
    /// The types of columns.
    types: &'a dyn Fn(&str) -> DataType,
}

/// What an expression over text is worth in each cell.
type Worths<'a> = BTreeMap<&'a str, Vec<Option<f64>>>;

/// The value of an aggregate.
#[derive(Clone, Copy)]
enum Figure {
    Whole(i128),
    Part(f64),
}

impl Answer<'_> {
    /// The groups, in the order of their keys; `None` where an expression over text gives no number.
    fn table(&self, cells: &[Cell]) -> PolarsResult<Option<DataFrame>> {
        let question = self.question;
        let texts = self.texts(cells)?;
        let Some(worths) = self.worths(&texts)? else { return Ok(None) };
        let mut kept = vec![true; cells.len()];
        for filter in &question.filters {
            let holds = select_one(&texts, filter)?;
            let holds = holds.bool()?;
            for (at, kept) in kept.iter_mut().enumerate() {
                // A condition without columns has one value for all.
                *kept &= holds.get(at.min(holds.len().saturating_sub(1))) == Some(true);
            }
        }
        let mut groups: BTreeMap<Vec<&Option<String>>, Vec<usize>> = BTreeMap::new();
        for (at, cell) in cells.iter().enumerate().filter(|(at, cell)| kept[*at] && cell.rows > 0) {
            let key = question.keys.iter().map(|key| &cell.texts[*key]).collect();
            groups.entry(key).or_default().push(at);
        }
        let mut columns: Vec<Column> = Vec::new();
        for (at, key) in question.keys.iter().enumerate() {
            let values: Vec<Option<&str>> = groups.keys().map(|group| group[at].as_deref()).collect();
            columns.push(Series::new(question.count.texts[*key].as_str().into(), values).into());
        }
        let nothing = self.nothing(&texts)?;
        for (n, aggregate) in question.aggregates.iter().enumerate() {
            let of = select_one(&nothing, &aggregate.sql)?.dtype().clone();
            let figures = groups.values().map(|group| figure(aggregate, group, cells, &worths));
            columns.push(series(&aggregate_name(n), figures, &of)?.into());
        }
        DataFrame::new(groups.len(), columns).map(Some)
    }

    /// The texts of all cells.
    fn texts(&self, cells: &[Cell]) -> PolarsResult<DataFrame> {
        let columns = self.question.count.texts.iter().enumerate().map(|(at, name)| {
            let values: Vec<Option<&str>> = cells.iter().map(|cell| cell.texts[at].as_deref()).collect();
            Series::new(name.as_str().into(), values).into()
        });
        DataFrame::new(cells.len(), columns.collect())
    }

    /// What the expressions over text are worth; `None` where one gives no number for each cell.
    fn worths(&self, texts: &DataFrame) -> PolarsResult<Option<Worths<'_>>> {
        let mut worths = Worths::new();
        for aggregate in &self.question.aggregates {
            let Argument::Text(sql) = &aggregate.of else { continue };
            let worth = select_one(texts, sql)?;
            let is_number = worth.dtype().is_primitive_numeric() || worth.dtype().is_bool();
            if !is_number || worth.len() != texts.height() {
                return Ok(None);
            }
            worths.insert(sql, worth.cast(&DataType::Float64)?.f64()?.iter().collect());
        }
        Ok(Some(worths))
    }

    /// The table without rows, to learn the types of aggregates from.
    fn nothing(&self, texts: &DataFrame) -> PolarsResult<DataFrame> {
        let mut columns = texts.clear().columns().to_vec();
        for (name, _) in &self.question.count.numbers {
            columns.push(Series::new_empty(name.as_str().into(), &(self.types)(name)).into());
        }
        DataFrame::new(0, columns)
    }
}

/// What the SQL expression `sql` gives for the rows of `frame`.
fn select_one(frame: &DataFrame, sql: &str) -> PolarsResult<Series> {
    let mut context = SQLContext::new();
    context.register("cells", frame.clone().lazy());
    let answer = collect(context.execute(&format!("SELECT ({sql}) AS figure FROM cells"))?)?;
    Ok(answer.column("figure")?.as_materialized_series().clone())
}

/// The aggregate of the `group`'s cells; `None` is null.
fn figure(aggregate: &Aggregate, group: &[usize], cells: &[Cell], worths: &Worths<'_>) -> Option<Figure> {
    let cells = || group.iter().map(|at| (*at, &cells[*at]));
    match &aggregate.of {
        Argument::Rows => Some(Figure::Whole(cells().map(|(_, cell)| i128::from(cell.rows)).sum())),
        Argument::Number(number) => {
            let mut all = Tally::default();
            cells().for_each(|(_, cell)| all.merge(&cell.numbers[*number]));
            of_numbers(&mut all, aggregate.what)
        }
        Argument::Text(sql) => {
            let worths = worths.get(sql.as_str())?;
            let known = cells().filter_map(|(at, cell)| Some((worths[at]?, cell.rows)));
            of_worths(&known.collect::<Vec<_>>(), aggregate.what)
        }
    }
}

fn of_numbers(all: &mut Tally, what: What) -> Option<Figure> {
    match what {
        What::Count => Some(Figure::Whole(i128::from(all.count))),
        // Of no values there is no sum, as in SQL.
        What::Sum => (all.count > 0).then_some(Figure::Whole(all.sum)),
        What::Mean => (all.count > 0).then(|| Figure::Part(all.sum as f64 / all.count as f64)),
        What::Least => all.range().map(|(least, _)| Figure::Whole(i128::from(least))),
        What::Most => all.range().map(|(_, most)| Figure::Whole(i128::from(most))),
        What::Quantile(q) => quantile(&all.histogram.sorted(), q).map(Figure::Part),
    }
}

/// The aggregate of worths, each of which so many rows have.
fn of_worths(known: &[(f64, u64)], what: What) -> Option<Figure> {
    let rows: u64 = known.iter().map(|(_, rows)| rows).sum();
    let sum: f64 = known.iter().map(|(worth, rows)| worth * *rows as f64).sum();
    let worths = known.iter().map(|(worth, _)| *worth);
    match what {
        What::Count => Some(Figure::Whole(i128::from(rows))),
        What::Sum => (rows > 0).then_some(Figure::Part(sum)),
        What::Mean => (rows > 0).then(|| Figure::Part(sum / rows as f64)),
        What::Least => worths.reduce(f64::min).map(Figure::Part),
        What::Most => worths.reduce(f64::max).map(Figure::Part),
        What::Quantile(_) => None,
    }
}

/// A column of the type that polars gives the aggregate.
fn series(name: &str, figures: impl Iterator<Item = Option<Figure>>, of: &DataType) -> PolarsResult<Series> {
    let whole = |figure: Figure| match figure {
        Figure::Whole(figure) => figure,
        Figure::Part(figure) => figure as i128,
    };
    let part = |figure: Figure| match figure {
        Figure::Whole(figure) => figure as f64,
        Figure::Part(figure) => figure,
    };
    let wide = if of.is_integer() {
        let figures = figures.map(|figure| figure.map(|figure| whole(figure) as i64));
        Series::new(name.into(), figures.collect::<Vec<_>>())
    } else {
        Series::new(name.into(), figures.map(|figure| figure.map(part)).collect::<Vec<_>>())
    };
    // What does not fit is an error, and the question polars'.
    wide.strict_cast(of)
}
