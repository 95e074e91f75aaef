//! `where = "COLUMN"`: an effect that asks only for the rows whose boolean column is true. The others keep what they have in the columns
//! that it adds, or have null there.

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow_select::filter::filter_record_batch;
use arrow_select::interleave::interleave;
use toml::Value;

use super::registry::Spec;
use super::{Answer, Change, Effect, Rejection, Request, Stage, Work};
use crate::error::{Error, Result};

/// Key of every effect.
pub(super) const WHERE: &str = "where";

struct OnlyWhere {
    column: String,
    inner: Box<dyn Effect>,
}

/// `stage`, asking only for the rows that `condition` names.
///
/// # Errors
/// It is no effect, or it makes several rows of one.
pub(super) fn build(mut stage: Stage, spec: &Spec, condition: &Value) -> Result<Stage> {
    let refused = |what: &str| Error::usage(format!("stage `{}`: `{WHERE}` {what}", spec.name));
    let column = condition
        .as_str()
        .ok_or_else(|| refused("is not the name of a column").hint("name a column of booleans"))?;
    let Work::Effect(inner) = stage.work else {
        return Err(refused("is for stages that ask").hint("leave it out: a pure stage costs nothing"));
    };
    if stage.fan_out > 1 {
        return Err(refused("is not for stages that make several rows of one").hint("ask for one sample"));
    }
    let (depends, named) = (stage.depends, column.to_owned());
    stage.depends = Box::new(move |language| {
        let mut all = depends(language);
        all.push(format!("{WHERE} {named}"));
        all
    });
    stage.needs.push(column.to_owned());
    stage.work = Work::Effect(Box::new(OnlyWhere { column: column.to_owned(), inner }));
    Ok(stage)
}

impl OnlyWhere {
    /// Which rows are asked for. Null is not.
    fn asked(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let column = batch.column_by_name(&self.column);
        let flags = column.and_then(|column| column.as_any().downcast_ref::<BooleanArray>());
        let flags =
            flags.ok_or_else(|| Error::usage(format!("there is no boolean column `{}`", self.column)))?;
        Ok(flags.iter().map(|flag| Some(flag == Some(true))).collect())
    }

    fn rows(batch: &RecordBatch, asked: &BooleanArray) -> Result<RecordBatch> {
        filter_record_batch(batch, asked)
            .map_err(|error| Error::usage(format!("cannot set rows aside: {error}")))
    }
}

impl Effect for OnlyWhere {
    fn requests(&self, batch: &RecordBatch) -> Result<Vec<Vec<Request>>> {
        let asked = self.asked(batch)?;
        let mut requests = self.inner.requests(&Self::rows(batch, &asked)?)?.into_iter();
        Ok(asked
            .values()
            .iter()
            .map(|asked| if asked { requests.next().unwrap_or_default() } else { Vec::new() })
            .collect())
    }

    fn follow_up(
        &self,
        batch: &RecordBatch,
        row: usize,
        request: usize,
        answers: &[Answer],
    ) -> Option<Request> {
        self.inner.follow_up(&batch.slice(row, 1), 0, request, answers)
    }

    fn fold(&self, batch: &RecordBatch, answers: &[Vec<Answer>]) -> Result<Change> {
        let asked = self.asked(batch)?;
        let answered: Vec<Vec<Answer>> = answers
            .iter()
            .zip(asked.values())
            .filter(|(_, asked)| *asked)
            .map(|(answers, _)| answers.clone())
            .collect();
        let change = self.inner.fold(&Self::rows(batch, &asked)?, &answered)?;
        // For each row, which array its value is in and where: 1 the change's, 0 what it had.
        let mut next = 0;
        let places: Vec<(usize, usize)> = asked
            .values()
            .iter()
            .enumerate()
            .map(|(row, asked)| {
                next += usize::from(asked);
                if asked { (1, next - 1) } else { (0, row) }
            })
            .collect();
        let rows: UInt32Array =
            (0..batch.num_rows() as u32).filter(|row| asked.value(*row as usize)).collect();
        let add = change.add.into_iter().map(|(name, values)| {
            let had = batch.column_by_name(&name).filter(|had| had.data_type() == values.data_type());
            let had: ArrayRef =
                had.map_or_else(|| new_null_array(values.data_type(), batch.num_rows()), |had| had.clone());
            let merged = interleave(&[&had, &values], &places)
                .map_err(|error| Error::usage(format!("column `{name}` cannot be put together: {error}")))?;
            Ok((name, merged))
        });
        let rejected = change
            .rejected
            .into_iter()
            .map(|rejection| Rejection { row: rows.value(rejection.row) as usize, ..rejection });
        Ok(Change { add: add.collect::<Result<_>>()?, rejected: rejected.collect(), ..Change::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::StringArray;

    use super::*;
    use crate::frame::schema::strings;
    use crate::llm::chat::{Message, Reply, Sampling};

    /// Asks for what is in `text`, adds the reply as `said`, and rejects replies of "no".
    struct Ask;

    impl Effect for Ask {
        fn requests(&self, batch: &RecordBatch) -> Result<Vec<Vec<Request>>> {
            let request = |text: Option<&str>| {
                let message = Message { role: "user".into(), content: text.unwrap_or_default().into() };
                vec![Request::Model { sampling: Arc::new(Sampling::default()), messages: [message].into() }]
            };
            Ok(strings(batch, "text")?.iter().map(request).collect())
        }

        fn fold(&self, batch: &RecordBatch, answers: &[Vec<Answer>]) -> Result<Change> {
            let said = |answers: &Vec<Answer>| match &answers[..] {
                [Answer::Model(reply)] => reply.output.clone(),
                other => panic!("{other:?}"),
            };
            let said: Vec<String> = answers.iter().map(said).collect();
            assert_eq!(said.len(), batch.num_rows());
            let no = |row: usize| Rejection { row, reason: "no".into(), detail: String::new() };
            let rejected = (0..said.len()).filter(|row| said[*row] == "no").map(no).collect();
            let said: ArrayRef = Arc::new(StringArray::from(said));
            Ok(Change { add: vec![("said".into(), said)], rejected, ..Change::default() })
        }
    }

    fn batch(had: bool) -> RecordBatch {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
        let wanted: ArrayRef = Arc::new(BooleanArray::from(vec![Some(false), Some(true), None, Some(true)]));
        let said: ArrayRef = Arc::new(StringArray::from(vec![Some("old a"), Some("old b"), None, None]));
        let mut columns = vec![("text", texts), ("wanted", wanted)];
        columns.extend(had.then_some(("said", said)));
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, values)| (name, values, true)),
        )
        .unwrap()
    }

    fn only(column: &str) -> OnlyWhere {
        OnlyWhere { column: column.into(), inner: Box::new(Ask) }
    }

    #[test]
    fn only_wanted_rows_are_asked_for_and_the_others_keep_what_they_have() {
        let reply = |output: &str| vec![Answer::Model(Reply { output: output.into(), ..Reply::default() })];
        let asked: Vec<usize> =
            only("wanted").requests(&batch(true)).unwrap().iter().map(|requests| requests.len()).collect();
        assert_eq!(asked, [0, 1, 0, 1]);
        for (had, expected) in [(true, ["old a", "new b", "", "no"]), (false, ["", "new b", "", "no"])] {
            let answers = [vec![], reply("new b"), vec![], reply("no")];
            let change = only("wanted").fold(&batch(had), &answers).unwrap();
            assert_eq!(change.rejected.iter().map(|rejection| rejection.row).collect::<Vec<_>>(), [3]);
            let said = change.add[0].1.as_any().downcast_ref::<StringArray>().unwrap();
            let said: Vec<&str> = said.iter().map(Option::unwrap_or_default).collect();
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn a_column_that_is_no_condition_is_refused() {
        for column in ["text", "nothing"] {
            assert!(only(column).requests(&batch(true)).is_err());
        }
    }
}
