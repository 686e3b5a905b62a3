// SPDX-License-Identifier: MIT OR Apache-2.0
// An SQLite database in a Pagestone region: npm install better-sqlite3; node app.js ./pagestone_vfs.so app.pgs
const Database = require('better-sqlite3');
const [extension, path] = process.argv.slice(2);

// This SQLite was built without URIs. So the VFS becomes the default one, and a path names a region.
const loader = new Database(':memory:');
loader.loadExtension(extension, 'sqlite3_pagestonevfs_default_init');

const db = new Database(path); // where it fails: loader.prepare('SELECT pagestone_error()').pluck().get()
db.exec('CREATE TABLE IF NOT EXISTS visits(at TEXT)');
db.prepare('INSERT INTO visits VALUES(datetime())').run();
console.log(db.prepare('SELECT count(*) FROM visits').pluck().get(), 'visits');
