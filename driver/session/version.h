/* Which vmoec this is. */
#ifndef VMOEC_DRIVER_SESSION_VERSION_H
#define VMOEC_DRIVER_SESSION_VERSION_H

#define VMOEC_VERSION "0.1.0"

#endif
