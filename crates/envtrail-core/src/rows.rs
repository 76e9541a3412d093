//! Rows of a batch as JSON, for whoever looks at a few of them one by one.

use crate::columns::{close, Columns};
use crate::json::push_text;
use arrow_array::RecordBatch;

/// An array of objects, one for each row, with all columns: a moment as its milliseconds, a map as an object.
pub fn rows_as_json(batch: &RecordBatch) -> Vec<u8> {
    let columns = Columns::of(batch);
    let mut out = vec![b'['];
    for row in 0..batch.num_rows() {
        out.push(b'{');
        for (name, column) in columns.iter() {
            push_text(&mut out, name);
            out.push(b':');
            column.push(&mut out, row);
            out.push(b',');
        }
        close(&mut out, b'{', b'}');
        out.push(b',');
    }
    close(&mut out, b'[', b']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn rows_are_objects_in_their_order() {
        let exe: ArrayRef = Arc::new(StringArray::from(vec![Some("/bin/\"a\""), None]));
        let exit: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(-2)]));
        let batch =
            RecordBatch::try_from_iter_with_nullable([("exe", exe, true), ("exit", exit, true)]);
        let batch = batch.unwrap();
        let expected = r#"[{"exe":"/bin/\"a\"","exit":null},{"exe":null,"exit":-2}]"#;
        assert_eq!(rows_as_json(&batch), expected.as_bytes());
        assert_eq!(rows_as_json(&batch.slice(0, 0)), b"[]");
    }
}
