//! The list of models that an endpoint serves.

use serde::Serialize;
use serde_json::Value;

use super::fault::printable;

/// One model of an endpoint's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its name, as `--model` takes it.
    pub id: String,
    /// Who made or serves it, where the endpoint says.
    pub owner: Option<String>,
    /// Most tokens of prompt and reply together, where the endpoint says.
    pub context: Option<u64>,
}

/// The models in `body`, and whether the list is complete; `None` when `body` is no such list.
pub(super) fn listed(body: &[u8]) -> Option<(Vec<Listed>, bool)> {
    let list: Value = serde_json::from_slice(body).ok()?;
    let complete = list.get("has_more").and_then(Value::as_bool) != Some(true);
    let models = list.get("data").unwrap_or(&list).as_array()?;
    let models = models.iter().filter_map(|model| {
        let text = |name: &str| model.get(name).and_then(Value::as_str);
        // Endpoints say this in fields of their own: OpenRouter, vLLM, llama.cpp.
        let context = ["/context_length", "/max_model_len", "/meta/n_ctx_train"];
        Some(Listed {
            id: printable(text("id")?),
            owner: text("owned_by").map(printable),
            context: context.into_iter().find_map(|path| model.pointer(path)?.as_u64()),
        })
    });
    Some((models.collect(), complete))
}

/// Whether the listed `id` is what the user calls `model`: servers list `llama3:latest` or `models/gemini-pro`
/// and take `llama3` and `gemini-pro`.
pub(super) fn names_model(id: &str, model: &str) -> bool {
    let extended = id.strip_prefix(model).is_some_and(|tag| tag.starts_with(':'));
    let qualified = id.strip_suffix(model).is_some_and(|owner| owner.ends_with('/'));
    id == model || extended || qualified
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_model_may_be_listed_under_a_longer_name() {
        assert!(names_model("m", "m") && names_model("m:latest", "m") && names_model("models/m", "m"));
        assert!(!names_model("m2", "m") && !names_model("xm", "m") && !names_model("m", "m2"));
    }

    #[test]
    fn lists_of_every_kind_of_server() {
        let read = |list: Value| listed(list.to_string().as_bytes());
        let (models, complete) = read(json!({"object": "list", "has_more": true, "data": [
            {"id": "a", "owned_by": "vllm", "max_model_len": 32768},
            {"id": "b", "meta": {"n_ctx_train": 4096}},
            {"id": "c\u{1b}[31m", "context_length": 8},
            {"name": "nameless"}, 7,
        ]}))
        .unwrap();
        assert!(!complete);
        let expected = [("a", Some("vllm"), 32768), ("b", None, 4096), ("c\\u{1b}[31m", None, 8)];
        let expected = expected.map(|(id, owner, context)| Listed {
            id: id.into(),
            owner: owner.map(str::to_owned),
            context: Some(context),
        });
        assert_eq!(models, expected);
        assert_eq!(read(json!([{"id": "a"}])).unwrap().0.len(), 1);
        for odd in [json!({}), json!({"data": 7}), json!("a"), json!(null)] {
            assert_eq!(read(odd), None);
        }
        assert_eq!(listed(b"<html>"), None);
    }
}
