// ls, stat, find, mkdir, rm, mv, ln: the namespace as its counterparts in coreutils show it.
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "cli/cli.h"
#include "cli/text.h"

namespace mayfly::cli {
namespace {

struct Listed {
  std::string name;
  struct stat attributes;
};

// The entries of a directory by name, without "." and "..".
bool List(mayfly_fs* fs, const std::string& path, std::vector<Listed>* out) {
  mayfly_dir* dir = mayfly_opendir(fs, path.c_str());
  if (dir == nullptr) return false;
  mayfly_dirent entry;
  int more;
  while ((more = mayfly_readdir(dir, &entry)) == 1) {
    std::string name(entry.name, entry.name_bytes);
    if (name != "." && name != "..") out->push_back({std::move(name), entry.attributes});
  }
  const int error = errno;
  mayfly_closedir(dir);
  std::sort(out->begin(), out->end(), [](const Listed& a, const Listed& b) { return a.name < b.name; });
  errno = error;
  return more == 0;
}

std::string Join(const std::string& dir, const std::string& name) {
  return dir.empty() || dir.back() == '/' ? dir + name : dir + "/" + name;
}

std::string TargetOf(mayfly_fs* fs, const std::string& path) {
  char target[4096];
  ssize_t n = mayfly_readlink(fs, path.c_str(), target, sizeof target);
  return n < 0 ? std::string("?") : std::string(target, static_cast<size_t>(n));
}

void PrintLong(mayfly_fs* fs, const std::string& path, const std::string& shown, const struct stat& st) {
  std::string tail;
  if (S_ISLNK(st.st_mode)) tail = " -> " + Quoted(TargetOf(fs, path));
  fmt::print("{} {:>4} {:>6} {:>6} {:>12} {} {}{}\n", Mode(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, st.st_size,
             Time(st.st_mtim), Quoted(shown), tail);
}

struct Names {
  std::vector<std::string> paths;
  bool all_details = false, recursive = false, directory_itself = false, force = false, parents = false;
  bool symbolic = false, no_replace = false, exchange = false;
  std::string pattern, type;
};

int ListOne(mayfly_fs* fs, const Names& n, const std::string& path, bool title) {
  struct stat st;
  if (mayfly_lstat(fs, path.c_str(), &st) != 0) return Fail(Why(Quoted(path)));
  if (!S_ISDIR(st.st_mode) || n.directory_itself) {
    n.all_details ? PrintLong(fs, path, path, st) : fmt::print("{}\n", Quoted(path));
    return kDone;
  }
  std::vector<Listed> entries;
  const std::string lacking = List(fs, path, &entries) ? std::string() : Why(Quoted(path));
  if (title) fmt::print("{}:\n", Quoted(path));
  for (const Listed& entry : entries) {
    n.all_details ? PrintLong(fs, Join(path, entry.name), entry.name, entry.attributes)
                  : fmt::print("{}\n", Quoted(entry.name));
  }
  // Behind what could be listed.
  int result = lacking.empty() ? kDone : Fail(lacking);
  if (n.recursive) {
    for (const Listed& entry : entries) {
      if (!S_ISDIR(entry.attributes.st_mode)) continue;
      fmt::print("\n");
      result = std::max(result, ListOne(fs, n, Join(path, entry.name), true));
    }
  }
  return result;
}

int Ls(const Context& c, const Names& n) {
  Session session(c);
  if (!session) return kFailed;
  int result = kDone;
  for (const std::string& path : n.paths) {
    result = std::max(result, ListOne(session.get(), n, path, n.recursive || n.paths.size() > 1));
  }
  return result;
}

int StatCommand(const Context& c, const Names& n) {
  Session session(c);
  if (!session) return kFailed;
  int result = kDone;
  for (const std::string& path : n.paths) {
    struct stat st;
    if (mayfly_lstat(session.get(), path.c_str(), &st) != 0) {
      result = Fail(Why(Quoted(path)));
      continue;
    }
    const char* type = S_ISDIR(st.st_mode) ? "directory" : S_ISLNK(st.st_mode) ? "symbolic link" : "regular file";
    fmt::print("  File: {}\n  Size: {:<12} Blocks: {:<10} Chunk: {:<8} {}\n", Quoted(path), st.st_size, st.st_blocks,
               st.st_blksize, type);
    fmt::print(" Inode: {:<20} Home: shard {:<6} Links: {}\n", st.st_ino, st.st_ino >> 40, st.st_nlink);
    fmt::print("Access: ({:04o}/{})  Uid: {}  Gid: {}\n", st.st_mode & 07777, Mode(st.st_mode), st.st_uid, st.st_gid);
    fmt::print("Access: {}\nModify: {}\nChange: {}\n", Time(st.st_atim), Time(st.st_mtim), Time(st.st_ctim));
  }
  return result;
}

int FindBelow(mayfly_fs* fs, const Names& n, const std::string& path, const struct stat& st) {
  const size_t slash = path.find_last_of('/');
  const std::string name = path.substr(slash == std::string::npos ? 0 : slash + 1);
  const char type = S_ISDIR(st.st_mode) ? 'd' : S_ISLNK(st.st_mode) ? 'l' : 'f';
  if ((n.type.empty() || n.type.find(type) != std::string::npos) &&
      (n.pattern.empty() || ::fnmatch(n.pattern.c_str(), name.c_str(), 0) == 0)) {
    fmt::print("{}\n", Quoted(path));
  }
  if (!S_ISDIR(st.st_mode)) return kDone;
  std::vector<Listed> entries;
  if (!List(fs, path, &entries)) return Fail(Why(Quoted(path)));
  int result = kDone;
  for (const Listed& entry : entries) {
    result = std::max(result, FindBelow(fs, n, Join(path, entry.name), entry.attributes));
  }
  return result;
}

int Find(const Context& c, const Names& n) {
  Session session(c);
  if (!session) return kFailed;
  int result = kDone;
  for (const std::string& path : n.paths) {
    struct stat st;
    if (mayfly_lstat(session.get(), path.c_str(), &st) != 0) {
      result = Fail(Why(Quoted(path)));
    } else {
      result = std::max(result, FindBelow(session.get(), n, path, st));
    }
  }
  return result;
}

int Mkdir(const Context& c, const Names& n) {
  Session session(c);
  if (!session) return kFailed;
  int result = kDone;
  for (const std::string& path : n.paths) {
    for (size_t at = 1; n.parents && at < path.size(); ++at) {
      if (path[at] == '/') (void)mayfly_mkdir(session.get(), path.substr(0, at).c_str(), 0777);
    }
    if (mayfly_mkdir(session.get(), path.c_str(), 0777) != 0 && !(n.parents && errno == EEXIST)) {
      result = Fail(Why(Quoted(path)));
    }
  }
  return result;
}

int RemoveTree(mayfly_fs* fs, const std::string& path) {
  std::vector<Listed> entries;
  if (!List(fs, path, &entries)) return Fail(Why(Quoted(path)));
  int result = kDone;
  for (const Listed& entry : entries) {
    const std::string child = Join(path, entry.name);
    if (S_ISDIR(entry.attributes.st_mode)) {
      result = std::max(result, RemoveTree(fs, child));
    } else if (mayfly_unlink(fs, child.c_str()) != 0) {
      result = Fail(Why(Quoted(child)));
    }
  }
  if (result == kDone && mayfly_rmdir(fs, path.c_str()) != 0) result = Fail(Why(Quoted(path)));
  return result;
}

int Rm(const Context& c, const Names& n) {
  Session session(c);
  if (!session) return kFailed;
  int result = kDone;
  for (const std::string& path : n.paths) {
    if (mayfly_unlink(session.get(), path.c_str()) == 0) continue;
    if (errno == ENOENT && n.force) continue;
    if (errno == EISDIR && n.recursive) {
      result = std::max(result, RemoveTree(session.get(), path));
    } else {
      result = Fail(Why(Quoted(path)));
    }
  }
  return result;
}

int Mv(const Context& c, const Names& n) {
  Session session(c);
  if (!session) return kFailed;
  unsigned flags = n.no_replace ? MAYFLY_RENAME_NOREPLACE : n.exchange ? MAYFLY_RENAME_EXCHANGE : 0;
  std::string target = n.paths[1];
  struct stat st;
  if (!n.exchange && mayfly_stat(session.get(), target.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) {
    target = Join(target, n.paths[0].substr(n.paths[0].find_last_of('/') + 1));
  }
  if (mayfly_rename(session.get(), n.paths[0].c_str(), target.c_str(), flags) != 0) {
    return Fail(Why(Quoted(n.paths[0]) + " to " + Quoted(target)));
  }
  return kDone;
}

int Ln(const Context& c, const Names& n) {
  Session session(c);
  if (!session) return kFailed;
  const int failed = n.symbolic ? mayfly_symlink(session.get(), n.paths[0].c_str(), n.paths[1].c_str())
                                : mayfly_link(session.get(), n.paths[0].c_str(), n.paths[1].c_str());
  return failed != 0 ? Fail(Why(Quoted(n.paths[1]))) : kDone;
}

using Command = int (*)(const Context&, const Names&);

CLI::App* Add(CLI::App& app, Context* context, const char* name, const char* help, Command command,
              std::shared_ptr<Names>* names) {
  CLI::App* sub = app.add_subcommand(name, help);
  *names = std::make_shared<Names>();
  sub->callback(
      [context, command, n = *names] { context->run = [context, command, n] { return command(*context, *n); }; });
  return sub;
}

}  // namespace

void AddNames(CLI::App& app, Context* context) {
  std::shared_ptr<Names> n;
  CLI::App* ls = Add(app, context, "ls", "List directories", Ls, &n);
  ls->add_flag("-l,--long", n->all_details, "Mode, links, owner, size and time of each entry");
  ls->add_flag("-R,--recursive", n->recursive, "Directories below, too");
  ls->add_flag("-d,--directory", n->directory_itself, "A directory itself, not what it holds");
  n->paths = {"/"};
  ls->add_option("path", n->paths, "What to list (default: /)");

  CLI::App* stat = Add(app, context, "stat", "Show all attributes", StatCommand, &n);
  stat->add_option("path", n->paths, "Files or directories")->required();

  CLI::App* find = Add(app, context, "find", "Walk a tree and print the paths that match", Find, &n);
  find->add_option("--name", n->pattern, "Shell pattern of the name, such as '*.h5'");
  find->add_option("--type", n->type, "Any of f (file), d (directory), l (symlink)")->check([](const std::string& t) {
    return t.find_first_not_of("fdl") == std::string::npos ? std::string() : "--type takes letters of f, d, l";
  });
  n->paths = {"/"};
  find->add_option("path", n->paths, "Where to start (default: /)");

  CLI::App* mkdir = Add(app, context, "mkdir", "Make directories", Mkdir, &n);
  mkdir->add_flag("-p,--parents", n->parents, "Parents too, and no error if it exists");
  mkdir->add_option("path", n->paths, "Directories to make")->required();

  CLI::App* rm = Add(app, context, "rm", "Remove files, with -r whole trees", Rm, &n);
  rm->add_flag("-r,--recursive", n->recursive, "Directories and what they hold");
  rm->add_flag("-f,--force", n->force, "No error for what does not exist");
  rm->add_option("path", n->paths, "What to remove")->required();

  CLI::App* mv = Add(app, context, "mv", "Rename a file or directory", Mv, &n);
  mv->add_flag("-n,--no-replace", n->no_replace, "Fail if the new name exists");
  mv->add_flag("--exchange", n->exchange, "Swap the two names");
  mv->add_option("paths", n->paths, "Old and new name")->required()->expected(2);

  CLI::App* ln = Add(app, context, "ln", "Make a hard link, with -s a symbolic one", Ln, &n);
  ln->add_flag("-s,--symbolic", n->symbolic, "A symbolic link; the first argument is its text");
  ln->add_option("paths", n->paths, "Existing file, and the new name")->required()->expected(2);
}

}  // namespace mayfly::cli
