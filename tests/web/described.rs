//! Checks answers against openapi.json, with the used part of JSON Schema.

use serde_json::Value;

/// The description.
pub struct Description(Value);

/// One path with one method.
pub struct Operation<'d> {
    pub path: &'d str,
    pub method: String,
    pub wants_a_role: bool,
    body: &'d Value,
    parameters: &'d Value,
    responses: &'d Value,
}

impl Description {
    pub fn read(document: Value) -> Self {
        Self(document)
    }

    pub fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let paths = self.0["paths"].as_object().expect("there are paths");
        paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("there are methods");
            methods.iter().map(move |(method, operation)| Operation {
                path,
                method: method.to_uppercase(),
                wants_a_role: operation.get("security").is_some(),
                body: &operation["requestBody"]["content"],
                parameters: &operation["parameters"],
                responses: &operation["responses"],
            })
        })
    }

    /// Checks an answer of an operation.
    #[track_caller]
    pub fn check(&self, operation: &Operation<'_>, code: u16, kind: &str, body: &Value) {
        let Operation { path, method, responses, .. } = operation;
        let response = self.resolve(&responses[code.to_string()]);
        assert!(response.is_object(), "{method} {path} answers {code}, which is not described");
        let Some(content) = response["content"].as_object() else { return };
        let kind = kind.split(';').next().unwrap_or_default();
        let content = content.get(kind);
        let content = content.unwrap_or_else(|| panic!("{method} {path}: {code} is of {kind:?}"));
        if let Some(schema) = content.get("schema") {
            self.fits(schema, body, &format!("{method} {path} {code}"));
        }
    }

    fn resolve<'d>(&'d self, value: &'d Value) -> &'d Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                let found = self.0.pointer(reference.trim_start_matches('#'));
                found.unwrap_or_else(|| panic!("{reference} is nowhere"))
            }
            None => value,
        }
    }

    #[track_caller]
    fn fits(&self, schema: &Value, value: &Value, at: &str) {
        let schema = self.resolve(schema);
        let types = match &schema["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => panic!("{at}: no type: {schema}"),
        };
        let is = |kind: &&str| match *kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("{at}: {other:?} is no type"),
        };
        assert!(types.iter().any(is), "{at}: {value} is not of {types:?}");
        if let Some(words) = schema["enum"].as_array() {
            assert!(words.contains(value), "{at}: {value} is not among {words:?}");
        }
        if let Some(items) = value.as_array() {
            for (index, item) in items.iter().enumerate() {
                self.fits(&schema["items"], item, &format!("{at}[{index}]"));
            }
        }
        if let Some(object) = value.as_object() {
            for key in schema["required"].as_array().into_iter().flatten() {
                let key = key.as_str().expect("a name");
                assert!(object.contains_key(key), "{at}: {key} is not there: {value}");
            }
            for (key, value) in object {
                match schema["properties"].get(key) {
                    Some(schema) => self.fits(schema, value, &format!("{at}.{key}")),
                    None => {
                        let is_closed = schema["additionalProperties"] == false;
                        assert!(!is_closed, "{at}: {key} is not described");
                    }
                }
            }
        }
    }
}

impl Operation<'_> {
    /// Returns the names of the query parameters.
    pub fn queries(&self) -> Vec<&str> {
        let all = self.parameters.as_array().into_iter().flatten();
        all.filter(|one| one["in"] == "query").filter_map(|one| one["name"].as_str()).collect()
    }

    /// Returns the type of the request body, if there is one.
    pub fn body_type(&self) -> Option<&str> {
        self.body.as_object().and_then(|content| content.keys().next()).map(String::as_str)
    }
}
