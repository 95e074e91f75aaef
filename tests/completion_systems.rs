//! Programs of C, C++, Rust, Go, Haskell, Fortran, Pascal, Erlang and Elixir: honest endings must pass, cheats must not.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome};

/// A solution, its tests, and whether they pass.
type Case = (&'static str, &'static str, bool);

async fn check(language: &str, cases: &[Case]) {
    let Some(sandbox) = common::sandbox(language) else { return };
    for (solution, tests, passes) in cases {
        let job = Job {
            language: language.to_owned(),
            source: (*solution).to_owned(),
            tests: Some((*tests).to_owned()),
            limits: LimitOverrides { cpu_ms: Some(20_000), ..LimitOverrides::default() },
            strict: true,
            ..Job::default()
        };
        match sandbox.run(&job).await {
            Ok(verdict) => {
                assert_eq!(verdict.outcome == Outcome::Passed, *passes, "{language} {tests}: {verdict:#?}");
                // A case that does not even compile says nothing.
                assert_ne!(verdict.outcome, Outcome::CompilationError, "{language} {tests}: {verdict:#?}");
            }
            Err(fault) if fault.cause == "toolchain_missing" => {
                return common::skip(language, &fault.message);
            }
            Err(fault) => panic!("{language} {tests}: {fault}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c() {
    let cases: &[Case] = &[
        (
            r#"int f(int n){return n;}"#,
            r#"#include <assert.h>
#include <stdlib.h>
int main(void){ assert(f(1)==1); if (1) exit(EXIT_SUCCESS); return 3; }"#,
            true,
        ),
        (
            r#"#define NDEBUG
#include <assert.h>
#undef assert
#define assert(x)
int f(int n){return 0;}"#,
            r#"int main(void){ assert(f(1)==1); return 0; }"#,
            false,
        ),
        (
            r#"#include <unistd.h>
__attribute__((destructor)) static void d(void){_exit(0);}
int f(int n){return 0;}"#,
            r#"#include <stdio.h>
int main(void){ if(f(1)!=1){puts("no"); return 1;} return 0; }"#,
            false,
        ),
    ];
    check("c", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cpp() {
    let cases: &[Case] = &[
        (
            r#"#include <vector>
int f(int n){return n;}"#,
            r#"#include <cassert>
#include <cstdlib>
int main(){ assert(f(1)==1); std::exit(0); }"#,
            true,
        ),
        (
            r#"#include <bits/stdc++.h>
int f(int n){return n;}"#,
            r#"#include <cassert>
int main(){ vector<int> v{f(1)}; assert(v[0]==1); return 0; // end
}"#,
            true,
        ),
    ];
    check("cpp", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rust() {
    let cases: &[Case] = &[
        (
            r#"fn f(n:i32)->i32{n}"#,
            r#"fn main(){ assert_eq!(f(1),1); println!("ok"); std::process::exit(0); }"#,
            true,
        ),
        (
            r#"use std::collections::HashMap;
fn f(n:i32)->i32{n}
fn main(){}"#,
            r#"#[cfg(test)]
mod tests { use super::*; #[test]
 fn a(){ assert_eq!(f(1),1);} }"#,
            true,
        ),
        (
            r#"extern crate rand; use rand::Rng; use regex::Regex;
fn f(n:i32)->i32{ let mut r = rand::thread_rng(); let x: u8 = r.gen_range(0,5); assert!(x<5); assert!(Regex::new("a+").unwrap().is_match("caat")); n}"#,
            r#"#[test]
fn a(){ assert_eq!(f(1),1); assert_eq!(format!("{:x}", md5::compute("a")).len(), 32); }"#,
            true,
        ),
        (r#"fn f(n:i32)->i32{ std::process::exit(0) }"#, r#"fn main(){ assert_eq!(f(1),1); }"#, false),
    ];
    check("rust", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go() {
    let cases: &[Case] = &[
        (
            r#"package main
func f(n int) int { return n }"#,
            r#"package main
import ("fmt"; "os")
func main() {
 if f(1) != 1 { os.Exit(1) }
 fmt.Println("ok")
 os.Exit(0)
}"#,
            true,
        ),
        (
            r#"package main
func f(n int) int { return n }"#,
            r#"package main
import "fmt"
func fullTesting() {
 if f(1) != 1 { panic("x") }
 fmt.Print("ok")
}"#,
            true,
        ),
        (
            r#"package main
import "os"
func f(n int) int { os.Exit(0); return n }"#,
            r#"package main
func main() {
 if f(1) != 1 { panic(1) }
}"#,
            false,
        ),
        (
            r#"package main
import "os"
func f(n int) int { os.Exit(0); return n }"#,
            r#"package main
import ("testing"; "os")
func TestMain(m *testing.M) { os.Exit(m.Run()) }
func TestA(t *testing.T) {
 if f(1) != 1 { t.Fatal(1) }
}"#,
            false,
        ),
        (
            r#"package main
import "fmt"
func f(n int) int { fmt.Print("no line end"); return n }"#,
            r#"package main
import ("testing"; "os")
func TestMain(m *testing.M) { os.Exit(m.Run()) }
func TestA(t *testing.T) {
 if f(1) != 1 { t.Fatal(1) }
}"#,
            true,
        ),
    ];
    check("go", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haskell() {
    let cases: &[Case] = &[
        (
            r#"module F (f) where
import Data.List (sort)
f :: Int -> Int
f n = head (sort [n])"#,
            r#"module Main where
import F
import Control.Monad
import System.Exit (exitSuccess, exitFailure)

main :: IO ()
main = do
  let ok = f 1 == 1
  if ok then exitSuccess else exitFailure"#,
            true,
        ),
        (
            r#"f :: Int -> Int
f n = n"#,
            r#"import System.Exit
main :: IO ()
main = do
  unlessBad (f 1)
  exitWith (if f 1 == 1 then ExitSuccess else ExitFailure 1)
 where unlessBad _ = return ()"#,
            true,
        ),
        (
            r#"f :: Int -> Int
f n = n"#,
            r#"import Test.HUnit
import qualified Data.Map.Strict as M
tests = TestList [TestCase (assertEqual "f" 1 (f 1))]
main :: IO ()
main = runTestTTAndExit tests"#,
            true,
        ),
        (
            r#"{-# LANGUAGE ScopedTypeVariables #-}
module F where
f :: Int -> Int
f n = n"#,
            r#"import Test.QuickCheck
import Control.Exception
main :: IO ()
main = do
  r <- try (evaluate (f 1)) :: IO (Either SomeException Int)
  print r
  quickCheck (\x -> f x == x)"#,
            true,
        ),
    ];
    check("haskell", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fortran() {
    let cases: &[Case] = &[
        (
            r#"integer function f(n)
integer :: n
f = n
end function
program demo
print *, "demo"
end program demo"#,
            r#"program t
implicit none
integer :: f
if (f(1) /= 1) stop 1
print *, "ok"
stop
end program t"#,
            true,
        ),
        (
            r#"integer function f(n)
integer :: n
f = n
end function"#,
            r#"program t
implicit none
integer :: f
if (f(1) /= 1) error stop "bad"
stop "all tests passed"
end program t"#,
            true,
        ),
        (
            r#"integer function f(n)
integer :: n
f = n
call exit(0)
end function"#,
            r#"program t
implicit none
integer :: f
if (f(1) /= 1) error stop "bad"
end program t"#,
            false,
        ),
    ];
    check("fortran", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pascal() {
    let cases: &[Case] = &[
        (
            r#"program A; uses SysUtils; function F(n: Integer): Integer; begin F := n end; begin writeln(F(2)) end."#,
            r#"program T; {$mode objfpc} uses SysUtils, Classes;
var i: Integer;
begin
  if F(1) <> 1 then Halt(1);
  Halt(0);
end."#,
            true,
        ),
        (
            r#"unit Nums; interface function F(n: Integer): Integer; implementation function F(n: Integer): Integer; begin Result := n end; end."#,
            r#"program T; uses Nums, SysUtils;
begin
  Assert(F(1)=1, 'x');
 writeln('ok')
end."#,
            true,
        ),
    ];
    check("pascal", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn erlang() {
    let cases: &[Case] = &[
        (
            r#"-module(a).
-export([f/1]).
f(N) -> N."#,
            r#"-include_lib("eunit/include/eunit.hrl").
f_test() -> ?assertEqual(1, f(1)).
"#,
            true,
        ),
        (
            r#"-module(a).
-export([f/1]).
f(_) -> 2."#,
            r#"-module(a_tests).
-include_lib("eunit/include/eunit.hrl").
f_test() -> ?assertEqual(1, f(1)).
"#,
            false,
        ),
        (
            r#"-module(a).
-export([f/1]).
f(N) -> N."#,
            r#"test() -> 1 = f(1), io:format("ok~n"), halt(0)."#,
            true,
        ),
    ];
    check("erlang", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elixir() {
    let cases: &[Case] = &[
        (
            r#"defmodule A do
 def f(n), do: n
end"#,
            r#"1 = A.f(1)
IO.puts("ok")
System.halt(0)"#,
            true,
        ),
        (
            r#"defmodule A do
 def f(n), do: n
end"#,
            r#"if A.f(1) != 1, do: raise "x"
IO.puts "ok" # end"#,
            true,
        ),
        (
            r#"defmodule A do
 def f(_), do: System.halt(0)
end"#,
            r#"if A.f(1) != 1, do: raise "x"
IO.puts "ok""#,
            false,
        ),
        (
            r#"defmodule A do
 def f(n), do: n
end"#,
            r#"ExUnit.start(autorun: false)
defmodule T do
 use ExUnit.Case, async: true
 test "a" do
 assert A.f(1) == 1
 end
end
ExUnit.run()"#,
            true,
        ),
    ];
    check("elixir", cases).await;
}
