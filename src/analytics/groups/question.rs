//! Which SELECTs are about groups of one table, and what such a one asks for.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Select,
    SelectItem, TableFactor, UnaryOperator, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use super::scan::{Comparison, Condition, Count};

/// The kinds of columns that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
}

/// A SELECT about groups of a table.
pub(super) struct Question {
    /// What to count.
    pub(super) count: Count,
    /// Columns that rows are grouped by, by their place in [`Count::texts`].
    pub(super) keys: Vec<usize>,
    /// Conditions over columns of text, as SQL.
    pub(super) filters: Vec<String>,
    /// The aggregates, without repeats.
    pub(super) aggregates: Vec<Aggregate>,
}

/// One aggregate of a group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Aggregate {
    /// The call, as SQL.
    pub(super) sql: String,
    pub(super) of: Argument,
    pub(super) what: What,
}

/// What an aggregate is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Argument {
    /// All rows.
    Rows,
    /// A column of numbers, by its place in [`Count::numbers`].
    Number(usize),
    /// An expression over columns of text, as SQL.
    Text(String),
}

/// Which aggregate it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum What {
    Count,
    Sum,
    Mean,
    Least,
    Most,
    Quantile(f64),
}

/// The name that the `n`-th aggregate has in the table of groups.
pub(super) fn aggregate_name(n: usize) -> String {
    format!("__aggregate_{n}")
}

/// The name of the table that `select` reads, if it reads just one and groups its rows, and nothing else happens.
pub(super) fn grouped_table(select: &Select) -> Option<String> {
    let [from] = select.from.as_slice() else { return None };
    let TableFactor::Table { name, .. } = &from.relation else { return None };
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return None };
    let list = |items: Vec<String>| items.join(", ");
    let projection = list(select.projection.iter().map(ToString::to_string).collect());
    let filter = select.selection.as_ref().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
    let keys = list(keys.iter().map(ToString::to_string).collect());
    // Whatever else a SELECT can have would be in its text.
    let plain = format!("SELECT {projection} FROM {name}{filter} GROUP BY {keys}");
    (!keys.is_empty() && select.to_string() == plain).then(|| name.to_string())
}

impl Question {
    /// What `select` asks, whose table has the columns that `kind` knows; `None` if it is more than is counted.
    pub(super) fn of(select: &Select, kind: &dyn Fn(&str) -> Option<Kind>) -> Option<Self> {
        let count = Count { texts: Vec::new(), numbers: Vec::new(), conditions: Vec::new() };
        let mut question = Self { count, keys: Vec::new(), filters: Vec::new(), aggregates: Vec::new() };
        let GroupByExpr::Expressions(keys, _) = &select.group_by else { return None };
        for key in keys {
            let name = column_name(key).filter(|name| kind(name) == Some(Kind::Text))?;
            let key = question.text(name);
            question.keys.push(key);
        }
        for condition in select.selection.iter().flat_map(conjuncts) {
            question.filter(condition, kind)?;
        }
        let names: Vec<String> = question.keys.iter().map(|key| question.count.texts[*key].clone()).collect();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    column_name(expr).filter(|name| names.iter().any(|key| key == name))?;
                }
                SelectItem::ExprWithAlias { expr, .. } => question.aggregates_in(expr, kind)?,
                _ => return None,
            }
        }
        Some(question)
    }

    fn text(&mut self, name: &str) -> usize {
        let texts = &mut self.count.texts;
        texts.iter().position(|text| text == name).unwrap_or_else(|| {
            texts.push(name.to_owned());
            texts.len() - 1
        })
    }

    fn number(&mut self, name: &str, spread: bool) -> usize {
        let numbers = &mut self.count.numbers;
        let at = numbers.iter().position(|(number, _)| number == name).unwrap_or_else(|| {
            numbers.push((name.to_owned(), false));
            numbers.len() - 1
        });
        numbers[at].1 |= spread;
        at
    }

    fn filter(&mut self, condition: &Expr, kind: &dyn Fn(&str) -> Option<Kind>) -> Option<()> {
        if let Expr::BinaryOp { left, op, right } = condition
            && let (Some(name), Some(is), Some(than)) =
                (column_name(left), comparison(op), whole_number(right))
            && kind(name) == Some(Kind::Number)
        {
            let number = self.number(name, false);
            self.count.conditions.push(Condition { number, is, than });
            return Some(());
        }
        self.texts_in(condition, kind)?;
        self.filters.push(condition.to_string());
        Some(())
    }

    /// Notes the columns of `expr`, which must all be text; nothing in it may look beyond its row.
    fn texts_in(&mut self, expr: &Expr, kind: &dyn Fn(&str) -> Option<Kind>) -> Option<()> {
        let mut columns = Columns::default();
        let _ = expr.visit(&mut columns);
        if columns.beyond {
            return None;
        }
        for name in columns.names {
            (kind(&name) == Some(Kind::Text)).then(|| self.text(&name))?;
        }
        Some(())
    }

    /// Notes the aggregates in `expr`; there may be no column outside of them but keys.
    fn aggregates_in(&mut self, expr: &Expr, kind: &dyn Fn(&str) -> Option<Kind>) -> Option<()> {
        let mut rest = expr.clone();
        let mut fits = true;
        replace_calls(&mut rest, &mut |call| {
            let aggregate = self.aggregate(call, kind);
            fits &= aggregate.is_some();
            Some(self.note(aggregate?))
        });
        let mut columns = Columns::default();
        let _ = rest.visit(&mut columns);
        let is_known = |name: &String| {
            name.starts_with("__aggregate_") || self.keys.iter().any(|key| self.count.texts[*key] == *name)
        };
        (fits && !columns.beyond && columns.names.iter().all(is_known)).then_some(())
    }

    fn note(&mut self, aggregate: Aggregate) -> usize {
        let known = self.aggregates.iter().position(|known| known.sql == aggregate.sql);
        known.unwrap_or_else(|| {
            self.aggregates.push(aggregate);
            self.aggregates.len() - 1
        })
    }

    fn aggregate(&mut self, call: &Function, kind: &dyn Fn(&str) -> Option<Kind>) -> Option<Aggregate> {
        let FunctionArguments::List(list) = &call.args else { return None };
        let arguments: Vec<&FunctionArgExpr> = list
            .args
            .iter()
            .map(|argument| match argument {
                FunctionArg::Unnamed(argument) => Some(argument),
                _ => None,
            })
            .collect::<Option<_>>()?;
        let sql = call.to_string();
        // DISTINCT, FILTER, OVER and the like would be in its text.
        let shown: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        if sql != format!("{}({})", call.name, shown.join(", ")) {
            return None;
        }
        let (what, argument) = match (function_name(call).as_str(), arguments.as_slice()) {
            ("count", [FunctionArgExpr::Wildcard]) => {
                return Some(Aggregate { sql, of: Argument::Rows, what: What::Count });
            }
            ("count", [FunctionArgExpr::Expr(of)]) => (What::Count, of),
            ("sum", [FunctionArgExpr::Expr(of)]) => (What::Sum, of),
            ("avg", [FunctionArgExpr::Expr(of)]) => (What::Mean, of),
            ("min", [FunctionArgExpr::Expr(of)]) => (What::Least, of),
            ("max", [FunctionArgExpr::Expr(of)]) => (What::Most, of),
            ("median", [FunctionArgExpr::Expr(of)]) => (What::Quantile(0.5), of),
            ("quantile_cont", [FunctionArgExpr::Expr(of), FunctionArgExpr::Expr(q)]) => {
                let q = q.to_string().parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
                (What::Quantile(q), of)
            }
            _ => return None,
        };
        let of = match column_name(argument).filter(|name| kind(name) == Some(Kind::Number)) {
            Some(name) => Argument::Number(self.number(name, matches!(what, What::Quantile(_)))),
            None if matches!(what, What::Quantile(_)) => return None,
            None => {
                self.texts_in(argument, kind)?;
                Argument::Text(match what {
                    What::Count => format!("CASE WHEN ({argument}) IS NULL THEN NULL ELSE 1 END"),
                    _ => argument.to_string(),
                })
            }
        };
        Some(Aggregate { sql, of, what })
    }
}

/// Puts the columns of the table of groups where the aggregates of `expr` are that `number` knows.
pub(super) fn replace_calls(expr: &mut Expr, number: &mut dyn FnMut(&Function) -> Option<usize>) {
    struct Calls<'a>(&'a mut dyn FnMut(&Function) -> Option<usize>);
    impl VisitorMut for Calls<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Function(call) = expr
                && is_aggregate(call)
                && let Some(number) = (self.0)(call)
            {
                *expr = Expr::Identifier(aggregate_name(number).as_str().into());
            }
            ControlFlow::Continue(())
        }
    }
    let _ = VisitMut::visit(expr, &mut Calls(number));
}

/// Functions of one row's values that polars and the groups' table agree on; any other call looks beyond its row for all
/// that is known here.
const OF_A_ROW: [&str; 9] =
    ["abs", "ceil", "coalesce", "concat", "floor", "length", "lower", "round", "upper"];

fn is_aggregate(call: &Function) -> bool {
    !OF_A_ROW.contains(&function_name(call).as_str())
}

fn function_name(call: &Function) -> String {
    call.name.to_string().to_lowercase()
}

/// The columns that an expression names.
#[derive(Default)]
struct Columns {
    names: Vec<String>,
    /// Whether there is anything in it that is more than its row.
    beyond: bool,
}

impl Visitor for Columns {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.names.push(name.value.clone()),
            Expr::Function(call) => self.beyond |= is_aggregate(call),
            Expr::BinaryOp { .. }
            | Expr::UnaryOp { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::Case { .. }
            | Expr::Cast { .. }
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::InList { .. }
            | Expr::Between { .. }
            | Expr::Like { .. } => {}
            _ => self.beyond = true,
        }
        ControlFlow::Continue(())
    }
}

fn column_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(name) => Some(&name.value),
        _ => None,
    }
}

/// The conditions that AND joins.
fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            [conjuncts(left), conjuncts(right)].concat()
        }
        Expr::Nested(inner) => conjuncts(inner),
        other => vec![other],
    }
}

fn comparison(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        _ => return None,
    })
}

fn whole_number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => whole_number(expr)?.checked_neg(),
        _ => None,
    }
}
