//! The body of a request, and the refusals in the words of the server's validator.

use serde_json::Value;

use super::Talk;
use crate::answer::Answer;
use crate::http::Request;
use crate::vocabulary::TokenId;

/// The body as JSON.
pub(super) fn parsed(request: &Request, talk: &Talk) -> Result<Value, Box<Answer>> {
    if !request.is_json() {
        let problem = "Unsupported Media Type: Only 'application/json' is allowed";
        return Err(invalid(talk, problem, None));
    }
    serde_json::from_slice(&request.body).map_err(|error| {
        let at = offset(&request.body, error.line(), error.column());
        let problem = format!(
            "{{'type': 'json_invalid', 'loc': 'body.{at}', 'msg': 'JSON decode error', \
             'input': '<dict of 0 items>', 'ctx': {{'error': 'Expecting value'}}}}"
        );
        invalid(talk, &problem, Some(&format!("body.{at}")))
    })
}

/// Where in the bytes a line and column are.
fn offset(bytes: &[u8], line: usize, column: usize) -> usize {
    let before = bytes
        .split(|byte| *byte == b'\n')
        .take(line.saturating_sub(1));
    before.map(|line| line.len() + 1).sum::<usize>() + column
}

/// A refusal of the validator.
pub(super) fn invalid(talk: &Talk, problem: &str, param: Option<&str>) -> Box<Answer> {
    let message = format!("1 validation error:\n  {problem}");
    Box::new(talk.error(400, &message, "Bad Request", param))
}

/// A refusal of the server behind the validator.
pub(super) fn bad(talk: &Talk, message: &str, param: &str) -> Box<Answer> {
    Box::new(talk.error(400, message, "BadRequestError", Some(param)))
}

/// Tokens given as numbers.
pub(super) fn token_list(value: &Value) -> Option<Vec<TokenId>> {
    let number = |id: &Value| id.as_u64().and_then(|id| id.try_into().ok());
    value.as_array()?.iter().map(number).collect()
}

/// Refuses fields of the wrong type, as the validator does before anything else.
pub(super) fn check_types(body: &Value, talk: &Talk) -> Result<(), Box<Answer>> {
    for name in ["max_tokens", "seed", "top_k", "min_tokens", "priority", "n"] {
        check_integer(body, name, talk)?;
    }
    for name in ["temperature", "top_p", "min_p"] {
        let given = &body[name];
        if !(given.is_null() || given.is_number()) {
            return Err(unparsable(talk, name, given, ("float", "number")));
        }
    }
    Ok(())
}

fn check_integer(body: &Value, name: &str, talk: &Talk) -> Result<(), Box<Answer>> {
    let given = &body[name];
    if given.is_null() || given.as_i64().is_some() {
        return Ok(());
    }
    if given.is_u64() && name == "seed" {
        let most = i64::MAX;
        let problem = format!(
            "{{'type': 'less_than_equal', 'loc': 'body.{name}', 'msg': 'Input should be less than \
             or equal to {most}', 'input': '{given}', 'ctx': {{'le': {most}}}}}"
        );
        return Err(invalid(talk, &problem, Some(&format!("body.{name}"))));
    }
    Err(unparsable(talk, name, given, ("int", "integer")))
}

fn unparsable(talk: &Talk, name: &str, given: &Value, kind: (&str, &str)) -> Box<Answer> {
    let (short, long) = kind;
    let input = given
        .as_str()
        .map_or_else(|| given.to_string(), str::to_owned);
    let problem = format!(
        "{{'type': '{short}_parsing', 'loc': 'body.{name}', 'msg': 'Input should be a valid {long}, \
         unable to parse string as {} {long}', 'input': '{input}'}}",
        if short == "int" { "an" } else { "a" },
    );
    invalid(talk, &problem, Some(&format!("body.{name}")))
}

/// A number as Python prints a float.
pub(super) fn python_float(number: f64) -> String {
    format!("{number:?}")
}
