// The page of an address that shows nothing: only the frame's own buttons work.
import {byId} from './dom.js';
import {bind, listen} from './keys.js';
import {toggleTheme} from './theme.js';

byId('theme').addEventListener('click', toggleTheme);
bind('t', 'Theme', toggleTheme);
listen();
