//! A cell taken apart into its statements, as evcxr takes it apart.

use ra_ap_syntax::ast::{self, AstNode, HasArgList, HasName};
use ra_ap_syntax::{Edition, SourceFile, SyntaxNode, TextSize};

use crate::cells::completeness::without_commands;

const OPENING: &str = "fn f(){";

/// A statement, an item, or the expression at the end.
#[derive(Debug, Clone)]
pub struct Statement {
    pub node: SyntaxNode,
    /// Its first byte in the cell, and the byte behind its last.
    pub start: usize,
    pub end: usize,
    length: usize,
}

impl Statement {
    /// The byte in the cell of a place in the parsed text.
    pub fn byte(&self, at: TextSize) -> usize {
        byte(at, self.length)
    }
}

fn byte(at: TextSize, length: usize) -> usize {
    usize::from(at).saturating_sub(OPENING.len()).min(length)
}

/// The statements of a cell; those that can be made out, where it is no Rust.
pub fn of(code: &str) -> Vec<Statement> {
    parsed(code).0
}

/// Whether a cell is Rust to the parser, down to its last byte.
pub fn is_rust(code: &str) -> bool {
    parsed(code).1
}

fn parsed(code: &str) -> (Vec<Statement>, bool) {
    let rust = without_commands(code);
    let parsed = SourceFile::parse(&format!("{OPENING}{rust}\n}}"), Edition::Edition2024);
    let file = parsed.syntax_node();
    let mut functions = file.children();
    let body = functions.next().and_then(ast::Fn::cast).and_then(|f| f.body());
    let list = body.and_then(|body| body.stmt_list());
    let whole = functions.next().is_none() && parsed.errors().is_empty();
    let nodes = list.iter().flat_map(|list| list.syntax().children());
    let statements = nodes.map(|node| {
        let range = node.text_range();
        let at = |at| byte(at, code.len());
        Statement { start: at(range.start()), end: at(range.end()), length: code.len(), node }
    });
    (statements.collect(), whole)
}

/// A variable that a cell's own `let` binds.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    pub name: String,
    pub mutable: bool,
    /// Where the pattern begins and where the statement ends.
    pub pattern: usize,
    pub end: usize,
}

/// The variables that the cell's own `let` statements bind.
pub fn bindings(statements: &[Statement]) -> Vec<Binding> {
    let lets = statements.iter().filter_map(|s| Some((s, ast::LetStmt::cast(s.node.clone())?)));
    let bound = lets.filter_map(|(statement, binding)| Some((statement, binding.pat()?)));
    bound
        .flat_map(|(statement, pattern)| {
            let start = statement.byte(pattern.syntax().text_range().start());
            let names = pattern.syntax().descendants().filter_map(ast::IdentPat::cast);
            names.filter_map(move |binding| {
                let name = binding.name()?.text().to_string();
                let mutable = binding.mut_token().is_some();
                Some(Binding { name, mutable, pattern: start, end: statement.end })
            })
        })
        .collect()
}

/// Whether nothing but the binding itself names the variable up to the end of its statement.
pub fn is_bound_unread(code: &str, binding: &Binding) -> bool {
    // A field, a method or an item of another place is no variable.
    let is_other = |at: &usize| {
        let before = &code[..*at];
        before.ends_with("::") || before.ends_with('.') && !before.ends_with("..")
    };
    mentions(&code[..binding.end], &binding.name).filter(|at| !is_other(at)).count() == 1
}

/// A call of the cell's own `main`, where the cell is a whole program and nothing else.
pub fn call_of_main(statements: &[Statement]) -> Option<String> {
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
            let fails =
                returned.is_some_and(|ty| ty.syntax().text().to_string().contains("Result"));
            call = Some(if fails { "\nmain()?;" } else { "\nmain();" }.to_owned());
        }
    }
    call
}

/// The statements `x = ..` of a cell: the variable, and where it stands.
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

/// The variables that a cell drops, where it consists of nothing but `drop(x);`.
pub fn drops(code: &str) -> Vec<String> {
    if code.lines().any(|line| line.trim_start().starts_with([':', '!'])) {
        return vec![];
    }
    let (statements, whole) = parsed(code);
    let names: Option<Vec<String>> = statements.iter().map(dropped).collect();
    names.filter(|_| whole).unwrap_or_default()
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

/// The first place at which a name stands as a word of its own, in strings and comments too.
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
    fn only_whole_cells_are_rust() {
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
    fn a_binding_that_is_read_first_is_known() {
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
    fn a_cell_of_drops_alone_is_known() {
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
    fn only_a_whole_program_is_run() {
        let call = |code: &str| call_of_main(&of(code));
        assert_eq!(call("fn main() { f() }\nfn f() {}").as_deref(), Some("\nmain();"));
        assert_eq!(
            call("fn main() -> std::io::Result<()> { Ok(()) }").as_deref(),
            Some("\nmain()?;")
        );
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
