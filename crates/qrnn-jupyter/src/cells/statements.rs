//! Splits a cell into statements, as evcxr does.

use ra_ap_syntax::ast::{self, AstNode, HasArgList, HasName};
use ra_ap_syntax::{Edition, SourceFile, SyntaxNode, TextRange, TextSize};

use crate::cells::commands::without_commands;

const OPENING: &str = "fn f(){";

/// A statement, an item, or the expression at the end.
#[derive(Debug, Clone)]
pub struct Statement {
    pub node: SyntaxNode,
    /// Its bytes in the cell.
    pub start: usize,
    pub end: usize,
    /// Length of the cell.
    length: usize,
}

impl Statement {
    /// The byte in the cell of a place in the parsed text.
    pub fn byte(&self, at: TextSize) -> usize {
        usize::from(at).saturating_sub(OPENING.len()).min(self.length)
    }

    /// The bytes in the cell of a range of the parsed text.
    pub fn bytes(&self, range: TextRange) -> std::ops::Range<usize> {
        self.byte(range.start())..self.byte(range.end())
    }
}

/// The statements of a cell. If it is not valid Rust, those that the parser recognizes.
pub fn of(code: &str) -> Vec<Statement> {
    parse(code).0
}

/// Whether the parser accepts the whole cell.
pub fn is_rust(code: &str) -> bool {
    parse(code).1
}

fn parse(code: &str) -> (Vec<Statement>, bool) {
    let (nodes, valid) = nodes(&without_commands(code));
    let statements = nodes.into_iter().map(|node| {
        let range = node.text_range();
        let mut statement = Statement { node, start: 0, end: 0, length: code.len() };
        (statement.start, statement.end) =
            (statement.byte(range.start()), statement.byte(range.end()));
        statement
    });
    (statements.collect(), valid)
}

/// The statements of code without commands, and whether the parser accepts all of it.
pub fn nodes(rust: &str) -> (Vec<SyntaxNode>, bool) {
    let parsed = SourceFile::parse(&format!("{OPENING}{rust}\n}}"), Edition::Edition2024);
    let mut functions = parsed.syntax_node().children();
    let body = functions.next().and_then(ast::Fn::cast).and_then(|f| f.body());
    let list = body.and_then(|body| body.stmt_list());
    let valid = functions.next().is_none() && parsed.errors().is_empty();
    (list.iter().flat_map(|list| list.syntax().children()).collect(), valid)
}

/// A variable bound by a `let` statement of the cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    pub name: String,
    pub mutable: bool,
    /// The end of the statement.
    pub end: usize,
}

pub fn bindings(statements: &[Statement]) -> Vec<Binding> {
    let lets = statements.iter().filter_map(|s| Some((s, ast::LetStmt::cast(s.node.clone())?)));
    let patterns = lets.filter_map(|(statement, binding)| Some((statement, binding.pat()?)));
    patterns
        .flat_map(|(statement, pattern)| {
            let names = pattern.syntax().descendants().filter_map(ast::IdentPat::cast);
            names.filter_map(move |binding| {
                let name = binding.name()?.text().to_string();
                let mutable = binding.mut_token().is_some();
                Some(Binding { name, mutable, end: statement.end })
            })
        })
        .collect()
}

/// Whether a cell binds the variable without reading its earlier value.
pub fn is_bound_unread(code: &str, binding: &Binding) -> bool {
    // A field, a method or a path.
    let is_other = |at: &usize| {
        let before = &code[..*at];
        before.ends_with("::") || before.ends_with('.') && !before.ends_with("..")
    };
    mentions(&code[..binding.end], &binding.name).filter(|at| !is_other(at)).count() == 1
}

/// A call of `main` if the cell consists of items with a `main` among them.
pub fn call_of_main(statements: &[Statement]) -> Option<&'static str> {
    let mut call = None;
    for statement in statements {
        let item = ast::Item::cast(statement.node.clone())?;
        if let ast::Item::Fn(function) = item
            && function.name().is_some_and(|name| name.text() == "main")
        {
            let takes = function.param_list().is_some_and(|list| list.params().next().is_some());
            if takes || function.async_token().is_some() {
                return None;
            }
            let returned = function.ret_type().and_then(|ty| ty.ty());
            let fallible =
                returned.is_some_and(|ty| ty.syntax().text().to_string().contains("Result"));
            call = Some(if fallible { "\nmain()?;" } else { "\nmain();" });
        }
    }
    call
}

/// The assignments `x = ..` of a cell: the variable and the byte of its name.
pub fn assignments(statements: &[Statement]) -> Vec<(String, usize)> {
    let found = statements.iter().filter_map(|statement| {
        let ast::Expr::BinExpr(operation) = expression(statement)? else { return None };
        let assigns = matches!(operation.op_kind()?, ast::BinaryOp::Assignment { op: None });
        let ast::Expr::PathExpr(target) = operation.lhs()? else { return None };
        let name = target.path()?.as_single_name_ref()?;
        let at = statement.byte(name.syntax().text_range().start());
        assigns.then(|| (name.text().to_string(), at))
    });
    found.collect()
}

/// The dropped variables if the cell consists only of `drop(x);` statements.
pub fn drops(code: &str) -> Vec<String> {
    if code.lines().any(|line| line.trim_start().starts_with([':', '!'])) {
        return vec![];
    }
    let (statements, valid) = parse(code);
    let names: Option<Vec<String>> = statements.iter().map(dropped).collect();
    names.filter(|_| valid).unwrap_or_default()
}

fn dropped(statement: &Statement) -> Option<String> {
    let ast::Expr::CallExpr(call) = expression(statement)? else { return None };
    let ast::Expr::PathExpr(function) = call.expr()? else { return None };
    let function = function.syntax().text().to_string();
    let mut arguments = call.arg_list()?.args();
    let (Some(ast::Expr::PathExpr(argument)), None) = (arguments.next(), arguments.next()) else {
        return None;
    };
    let name = argument.path()?.as_single_name_ref()?.text().to_string();
    matches!(&*function, "drop" | "std::mem::drop" | "mem::drop").then_some(name)
}

fn expression(statement: &Statement) -> Option<ast::Expr> {
    ast::ExprStmt::cast(statement.node.clone())
        .and_then(|statement| statement.expr())
        .or_else(|| ast::Expr::cast(statement.node.clone()))
}

/// The first place of a name as a whole word, also in strings and comments.
pub fn first_mention(code: &str, name: &str) -> Option<usize> {
    mentions(code, name).next()
}

fn mentions(code: &str, name: &str) -> impl Iterator<Item = usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let places = code.match_indices(name).map(|(at, _)| at);
    places.filter(move |&at| {
        !code[..at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_know_their_bytes() {
        let code = ":dep a\nlet é = 1;\n  f(é)";
        let statements = of(code);
        let texts: Vec<&str> = statements.iter().map(|s| &code[s.start..s.end]).collect();
        assert_eq!(texts, ["let é = 1;", "f(é)"]);
    }

    #[test]
    fn only_valid_cells_are_rust() {
        for code in ["", "let x = 1;", "fn f() {}\n1", "// nothing", ":vars", "f();;"] {
            assert!(is_rust(code), "{code}");
        }
        for code in
            ["}\nf();", "} else {", "let", "let = 5;", "use std::", "} fn g() {", "{", "1 2"]
        {
            assert!(!is_rust(code), "{code}");
        }
    }

    #[test]
    fn bindings_and_assignments_are_found() {
        let statements = of("let (a, mut b) = p; { let c = 1; } b = 2; self.x = 3; a += 1; d = 1");
        let bound: Vec<_> =
            bindings(&statements).into_iter().map(|b| (b.name, b.mutable)).collect();
        assert_eq!(bound, [("a".to_owned(), false), ("b".to_owned(), true)]);
        let assigned: Vec<_> = assignments(&statements).into_iter().map(|(name, _)| name).collect();
        assert_eq!(assigned, ["b", "d"]);
    }

    #[test]
    fn a_binding_that_is_read_first_is_recognized() {
        for (code, unread) in [
            ("let m = f();", true),
            ("let mut m = f(); m + 1", true),
            ("let m = krate::m(x.m, y.m());", true),
            ("let m = m + 1;", false),
            ("let m = S { a: 1, ..m };", false),
            ("let m = S(m::new());", false),
            ("println!(\"{m}\"); let m = 1;", false),
        ] {
            let bound = bindings(&of(code));
            assert_eq!(is_bound_unread(code, &bound[0]), unread, "{code}");
        }
    }

    #[test]
    fn a_cell_of_drops_is_recognized() {
        assert_eq!(drops("drop(a); drop(b);"), ["a", "b"]);
        assert_eq!(drops("// done\nstd::mem::drop(a);\ndrop(b)"), ["a", "b"]);
        for code in [
            "",
            "f(a);",
            "drop(a); f();",
            "drop(a.b);",
            "drop(&a);",
            "drop(a, b);",
            "drop(a); let b = 1;",
            ":dep x\ndrop(a);",
            "drop(a); }",
            "{ drop(a); }",
        ] {
            assert!(drops(code).is_empty(), "{code}");
        }
    }

    #[test]
    fn only_a_program_has_its_main_called() {
        let call = |code: &str| call_of_main(&of(code));
        assert_eq!(call("fn main() { f() }\nfn f() {}"), Some("\nmain();"));
        assert_eq!(call("fn main() -> std::io::Result<()> { Ok(()) }"), Some("\nmain()?;"));
        for code in ["fn main() {} main();", "fn f() {}", "async fn main() {}", "let x = 1;", ""] {
            assert_eq!(call(code), None, "{code}");
        }
    }

    #[test]
    fn words_are_found_whole() {
        assert_eq!(first_mention("expo(exp)", "exp"), Some(5));
        assert_eq!(first_mention("println!(\"{exp}\")", "exp"), Some(11));
        assert_eq!(first_mention("expo", "exp"), None);
    }
}
