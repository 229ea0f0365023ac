// After a package is packed: brings back the README with the links of the repository.

import { renameSync } from 'node:fs';

renameSync('.README.md', 'README.md');
